/** A connection that comes back: notices when it is gone, waits, connects again. */

import { backoff } from './backoff.js';
import { decode, encode } from './msgpack.js';
import { CLOSE_FOR_GOOD, FROM_CLIENT, FROM_SERVER, SUBPROTOCOL } from './protocol.js';

// Milliseconds
const SILENCE = 15_000; // after which the server is asked for a sign of life
const PATIENCE = 10_000; // for an answer
const STABLE = 5_000; // a connection that lasted so long was a good one
/** @type {[number, number]} */
const RECONNECT = [500, 20_000];

const PING = encode([FROM_CLIENT.PING]);

/** @typedef {'connecting' | 'online' | 'offline' | 'closed' | 'refused'} Status */

/**
 * @typedef {object} Handlers
 * @property {(status: Status) => void} status
 * @property {(message: any) => void} message
 * @property {(error: Error) => void} error
 */

export class Socket {
  /** @type {Status} */ status = 'connecting';
  #url;
  #handlers;
  #hello = encode([FROM_CLIENT.HELLO, crypto.getRandomValues(new Uint8Array(16))]);
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #attempt = 0;
  #onlineSince = Infinity;
  #retryAfter = 0;
  #listening = new AbortController();

  /** @param {string | URL} url @param {Handlers} handlers */
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    const { signal } = this.#listening;
    window.addEventListener('online', () => this.#wake(), { signal });
    document.addEventListener('visibilitychange', () => this.#wake(), { signal });
    this.#connect();
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes @returns whether there is a connection */
  send(bytes) {
    const online = this.status === 'online';
    if (online) this.#socket?.send(bytes);
    return online;
  }

  /** @param {'closed' | 'refused'} status */
  stop(status) {
    clearTimeout(this.#timer);
    this.#listening.abort();
    this.#drop();
    this.#become(status);
  }

  #connect() {
    this.#become('connecting');
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => socket.send(this.#hello);
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(data);
    socket.onclose = ({ code }) => socket === this.#socket && this.#lose(code);
    this.#socket = socket;
    this.#schedule(PATIENCE, () => this.#lose());
  }

  /** @param {ArrayBuffer} data */
  #receive(data) {
    this.#schedule(SILENCE, () => this.#ping());
    try {
      const message = /** @type {any} */ (decode(new Uint8Array(data)));
      if (message[0] === FROM_SERVER.BYE) this.#retryAfter = message[2] ?? 0;
      this.#handlers.message(message);
      if (message[0] === FROM_SERVER.WELCOME && this.#socket) {
        this.#onlineSince = performance.now();
        this.#become('online');
      }
    } catch (error) {
      // What it would have told us we do not know: start afresh.
      this.#handlers.error(/** @type {Error} */ (error));
      this.#lose();
    }
  }

  #lose(code = 0) {
    if (code >= CLOSE_FOR_GOOD) return this.stop('refused');
    this.#drop();
    if (performance.now() - this.#onlineSince > STABLE) this.#attempt = 0;
    this.#schedule(this.#retryAfter + backoff(this.#attempt, ...RECONNECT), () => this.#connect());
    this.#attempt += 1;
    this.#onlineSince = Infinity;
    this.#retryAfter = 0;
    this.#become('offline');
  }

  /** Without waiting for the close event: a dead network may hold it up for a minute. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  /** The network changed, or somebody may be looking: find out now how things stand. */
  #wake() {
    if (document.hidden) return;
    if (this.status === 'offline') this.#connect();
    if (this.status === 'online') this.#ping();
  }

  #ping() {
    this.send(PING);
    this.#schedule(PATIENCE, () => this.#lose());
  }

  /** There is one thing to wait for at a time. @param {number} delay @param {() => void} then */
  #schedule(delay, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, delay);
  }

  /** @param {Status} status */
  #become(status) {
    if (this.status === status) return;
    this.status = status;
    this.#handlers.status(status);
  }
}
