/** A room's mutations: kept until the server has answered, and sent again until then. */

import { backoff } from './backoff.js';

/** @typedef {import('./protocol.js').RoomError} RoomError */

const MAX_PENDING = 500;
/** @type {[number, number]} milliseconds, while the server's store is away */
const RETRY = [200, 5_000];

/**
 * @typedef {object} Mutation
 * @property {number} mid
 * @property {Uint8Array<ArrayBuffer>} frame
 * @property {(result: any) => void} resolve
 * @property {(error: RoomError) => void} reject
 */

/** Whatever is sent again is sent in order: the server lets none pass one that it put off. */
export class MutationQueue {
  /** @type {Mutation[]} */ #pending = [];
  #open = false;
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;

  /** @param {(frame: Uint8Array<ArrayBuffer>) => void} send */
  constructor(send) {
    this.send = send;
  }

  get full() {
    return this.#pending.length >= MAX_PENDING;
  }

  /** @param {number} mid @param {Uint8Array<ArrayBuffer>} frame @returns {Promise<any>} */
  add(mid, frame) {
    return new Promise((resolve, reject) => {
      this.#pending.push({ mid, frame, resolve, reject });
      if (this.#open && !this.#retry) this.send(frame);
    });
  }

  /** The room is joined on this connection. */
  open() {
    this.#open = true;
    this.#sendAll();
  }

  /** The connection is gone; what was not answered is sent again on the next. */
  close() {
    this.#open = false;
    clearTimeout(this.#retry);
    this.#retry = undefined;
  }

  /** @param {number} mid @param {any} result */
  acknowledge(mid, result) {
    this.#take(mid)?.resolve(result);
  }

  /** @param {number} mid @param {RoomError} error */
  refuse(mid, error) {
    if (error.code === 'unavailable') this.#putOff();
    else this.#take(mid)?.reject(error);
  }

  /** @param {RoomError} error */
  refuseAll(error) {
    this.close();
    for (const { reject } of this.#pending.splice(0)) reject(error);
  }

  /** @param {number} mid */
  #take(mid) {
    const at = this.#pending.findIndex((mutation) => mutation.mid === mid);
    if (at < 0) return undefined;
    this.#attempt = 0;
    return this.#pending.splice(at, 1)[0];
  }

  #putOff() {
    if (!this.#open || this.#retry) return;
    this.#retry = setTimeout(() => this.#sendAll(), backoff(this.#attempt, ...RETRY));
    this.#attempt += 1;
  }

  #sendAll() {
    this.#retry = undefined;
    for (const { frame } of this.#pending) this.send(frame);
  }
}
