/** A room's mutations: sent until the server has answered, and shown until its state has them. */

import { backoff } from './backoff.js';
import { decode } from './msgpack.js';
import { FROM_CLIENT, frame } from './protocol.js';
import { freeze } from './replica.js';

/** @typedef {import('./replica.js').State} State */
/** @typedef {import('./room.js').Link} Link */
/** @typedef {import('./protocol.js').RoomError} RoomError */
/** @typedef {(state: Record<string, any>, args: any) => void} Optimistic */

const MAX_PENDING = 500;
/** @type {[number, number]} milliseconds, while the server's store is away */
const RETRY = [200, 5_000];

/**
 * @typedef {object} Mutation
 * @property {Uint8Array} client whose mutation it is
 * @property {number} mid its number among those of the client
 * @property {Uint8Array<ArrayBuffer>} frame
 * @property {any} message what is in the frame
 * @property {boolean} sent
 * @property {boolean} inDoubt it may have been applied without our hearing of it
 * @property {number | bigint | null} version of its commit, once it is acknowledged
 * @property {(result: any) => void} resolve
 * @property {(error: RoomError) => void} reject
 */

/** Whatever is sent again is sent in order: the server lets none pass one that it put off. */
export class MutationQueue {
  /** @type {Record<string, Optimistic>} what actions will do, as far as the page can tell */
  optimistic = Object.create(null);
  #link;
  /** @type {Mutation[]} */ #pending = [];
  #open = false;
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
  }

  get unanswered() {
    return this.#pending.filter(({ version }) => version === null);
  }

  get full() {
    return this.#pending.length >= MAX_PENDING;
  }

  get inDoubt() {
    return this.#pending.some(({ inDoubt }) => inDoubt);
  }

  /**
   * @param {Uint8Array} client @param {number} mid @param {Uint8Array<ArrayBuffer>} bytes
   * @param {boolean} inDoubt
   * @returns {Promise<any>}
   */
  add(client, mid, bytes, inDoubt = false) {
    return new Promise((resolve, reject) => {
      const message = decode(bytes); // nobody else has hands on these values
      const state = { sent: false, inDoubt, version: null };
      const mutation = { client, mid, frame: bytes, message, ...state, resolve, reject };
      this.#pending.push(mutation);
      if (this.#open && !this.#retry) this.#send(mutation);
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
    for (const mutation of this.unanswered) mutation.inDoubt ||= mutation.sent;
  }

  /**
   * Returns whether it was one of this room's.
   *
   * @param {number} mid @param {number | bigint} version @param {any} result
   */
  acknowledge(mid, version, result) {
    const mutation = this.#find(mid);
    if (mutation) Object.assign(mutation, { version, inDoubt: false }).resolve(result);
    return mutation !== undefined;
  }

  /** The same. @param {number} mid @param {RoomError} error */
  refuse(mid, error) {
    const mutation = this.#find(mid);
    if (mutation && error.code === 'unavailable') this.#putOff(mutation);
    else if (mutation) this.#reject([mutation], error);
    return mutation !== undefined;
  }

  /** @param {RoomError} error */
  refuseAll(error) {
    this.close();
    this.#reject(this.unanswered, error);
  }

  /** What is shown has all mutations up to a version. @param {number | bigint} version */
  settle(version) {
    this.#pending = this.#pending.filter((each) => each.version === null || each.version > version);
  }

  /** A new chain, whatever its versions, has all that was acknowledged. */
  release() {
    for (const mutation of this.#pending) if (mutation.version !== null) mutation.version = 0;
  }

  /** The state as it will be if nothing is refused. @param {State} state @returns {State} */
  preview(state) {
    if (this.#pending.length === 0) return state;
    const draft = { __proto__: null, ...state };
    for (const { message } of this.#pending) this.#perform(message, draft);
    return freeze(draft);
  }

  /** @param {any[]} message @param {Record<string, any>} draft */
  #perform([type, , room, what, more], draft) {
    if (type === FROM_CLIENT.WRITE) {
      Object.assign(draft, what);
      for (const key of more) delete draft[key];
      return;
    }
    try {
      this.optimistic[what]?.(draft, more);
    } catch (cause) {
      this.#link.report(new Error(`the optimistic ${what} of ${room} failed`, { cause }));
    }
  }

  /** Numbers of this connection's client. @param {number} mid */
  #find(mid) {
    const { speaker } = this.#link;
    const found = this.#pending.find((each) => each.mid === mid && each.client === speaker);
    if (found) this.#attempt = 0;
    return found;
  }

  /** @param {Mutation[]} mutations @param {RoomError} error */
  #reject(mutations, error) {
    this.#pending = this.#pending.filter((mutation) => !mutations.includes(mutation));
    for (const { reject } of mutations) reject(error);
  }

  /** @param {Mutation} mutation */
  #putOff(mutation) {
    mutation.inDoubt = true;
    if (!this.#open || this.#retry) return;
    this.#retry = setTimeout(() => this.#sendAll(), backoff(this.#attempt, ...RETRY));
    this.#attempt += 1;
  }

  #sendAll() {
    this.#retry = undefined;
    for (const mutation of this.unanswered) this.#send(mutation);
  }

  /** @param {Mutation} mutation */
  #send(mutation) {
    const { speaker, limits, send } = this.#link;
    if (mutation.client !== speaker) return; // each client's numbers need its own connection
    try {
      frame(mutation.message, mutation.message[2], limits); // lower than once, perhaps
      mutation.sent = send(mutation.frame) || mutation.sent;
    } catch (error) {
      this.#reject([mutation], /** @type {RoomError} */ (error));
    }
  }
}
