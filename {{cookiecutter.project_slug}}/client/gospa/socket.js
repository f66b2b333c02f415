/** A connection that comes back: notices when it is gone, waits, connects again. */

import { backoff } from './backoff.js';
import { decode, encode } from './msgpack.js';
import { CLOSE, FROM_CLIENT, FROM_SERVER, SUBPROTOCOL } from './protocol.js';

// Milliseconds
const SILENCE = 15_000; // after which the server is asked for a sign of life
const PATIENCE = 10_000; // for an answer
const HASTE = 2_000; // the same, where the browser says that there is no network
const STABLE = 5_000; // a connection that lasted so long was a good one
/** @type {[number, number]} */
const RECONNECT = [500, 20_000];

const PING = encode([FROM_CLIENT.PING]);

/** @typedef {'connecting' | 'online' | 'offline' | 'closed' | 'unauthorized'} Status */

/**
 * @typedef {object} Handlers
 * @property {() => Uint8Array} identify the client to say HELLO as
 * @property {(status: Status, why: string) => void} status
 * @property {(message: any) => void} message
 * @property {(error: Error) => void} error
 * @property {(milliseconds: number) => void} latency
 */

export class Socket {
  /** @type {Status} */ status = 'connecting';
  #url;
  #handlers;
  /** @type {WebSocket | undefined} */ #socket;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #attempt = 0;
  #began = 0;
  #notBefore = 0; // as a server asked that took leave
  #pinged = 0;
  #listening = new AbortController();

  /** @param {string | URL} url @param {Handlers} handlers */
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    const { signal } = this.#listening;
    window.addEventListener('online', () => this.#wake(), { signal });
    // There is no network, but the server may be on this very machine.
    window.addEventListener('offline', () => this.#ask(HASTE), { signal });
    document.addEventListener('visibilitychange', () => this.#wake(), { signal });
    this.reconnect();
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes @returns whether there is a connection */
  send(bytes) {
    const online = this.status === 'online';
    if (online) this.#socket?.send(bytes);
    return online;
  }

  /** For good. @param {'closed' | 'unauthorized'} status @param {string} why */
  stop(status, why) {
    clearTimeout(this.#timer);
    this.#listening.abort();
    this.#drop();
    this.#become(status, why);
  }

  reconnect() {
    if (this.#listening.signal.aborted) return; // it was stopped, which is for good
    this.#drop();
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => socket.send(encode([FROM_CLIENT.HELLO, this.#handlers.identify()]));
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(data);
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#lose(code, reason);
    this.#socket = socket;
    this.#began = performance.now();
    this.#schedule(PATIENCE, () => this.#lose());
    this.#become('connecting'); // and who hears of that may stop it
  }

  /** Find out whether the server is there, and how far away. */
  ping() {
    if (!this.#pinged) this.#ask(PATIENCE);
  }

  /** @param {number} patience */
  #ask(patience) {
    if (!this.send(PING)) return;
    this.#pinged = performance.now();
    this.#schedule(patience, () => this.#lose());
  }

  /** @param {ArrayBuffer} data */
  #receive(data) {
    const socket = this.#socket;
    this.#schedule(SILENCE, () => this.#ask(PATIENCE));
    try {
      const message = /** @type {any} */ (decode(new Uint8Array(data)));
      if (message[0] === FROM_SERVER.BYE) this.#notBefore = performance.now() + message[2];
      if (message[0] === FROM_SERVER.PONG) {
        this.#handlers.latency(performance.now() - this.#pinged);
        this.#pinged = 0;
      }
      this.#handlers.message(message);
      if (message[0] === FROM_SERVER.WELCOME && socket === this.#socket) this.#become('online');
    } catch (error) {
      // What it would have told us we do not know: start afresh.
      this.#lose();
      this.#handlers.error(/** @type {Error} */ (error));
    }
  }

  #lose(code = 0, reason = '') {
    if (code >= CLOSE.FOR_GOOD) {
      const why = `the server ended the connection: ${reason || 'it gave no reason'} (${code})`;
      return this.stop(code <= CLOSE.MISTAKE ? 'closed' : 'unauthorized', why);
    }
    const now = performance.now();
    if (this.status === 'online' && now - this.#began > STABLE) this.#attempt = 0;
    const wait = Math.max(0, this.#notBefore - now) + backoff(this.#attempt++, ...RECONNECT);
    this.#drop();
    this.#schedule(wait, () => this.reconnect());
    this.#become('offline');
  }

  /** Without waiting for the close event: a dead network may hold it up for a minute. */
  #drop() {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#pinged = 0;
    socket?.close();
  }

  /** The network changed, or somebody may be looking: find out now how things stand. */
  #wake() {
    if (document.hidden || performance.now() < this.#notBefore) return;
    if (this.status === 'online') this.ping();
    else this.reconnect();
  }

  /** There is one thing to wait for at a time. @param {number} delay @param {() => void} then */
  #schedule(delay, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, delay);
  }

  /** @param {Status} status @param {string} why */
  #become(status, why = '') {
    if (this.status === status) return;
    this.status = status;
    this.#handlers.status(status, why);
  }
}
