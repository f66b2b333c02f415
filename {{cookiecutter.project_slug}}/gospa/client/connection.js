/** A connection that comes back: notices when it is gone, waits, connects again. */

import { backoff } from './backoff.js';
import { Emitter } from './emitter.js';
import { decode, encode } from './msgpack.js';
import { CLOSE, FROM_CLIENT, FROM_SERVER, SUBPROTOCOL } from './protocol.js';

// Milliseconds
const SILENCE = 15_000; // after which the server is asked for a sign of life
const PATIENCE = 10_000; // for an answer
const HASTE = 2_000; // the same, where the browser says that there is no network
const STABLE = 5_000; // a connection that lasted so long was a good one
/** @type {[number, number]} */
const RECONNECT = [500, 20_000];

/** @typedef {'connecting' | 'online' | 'offline' | 'closed' | 'unauthorized'} Status */

/**
 * It tells of `status`: the new one, and why. `welcome`: what the server said of itself, at each
 * connection. `latency`: milliseconds to the server and back, for each `ping`. `error`: why the
 * connection was given up.
 * @template {string} More
 * @extends {Emitter<'status' | 'welcome' | 'latency' | 'error' | More>}
 */
export class Connection extends Emitter {
  /** @type {Status} */ status = 'connecting';
  why = ''; // it is closed or unauthorized, which is for good
  /** @type {Readonly<Record<string, any>> | null} what the server said of itself */
  server = null;
  /** @type {string | null} the name under which others see this page */
  member = null;
  /** The client that says HELLO: 16 bytes, each a character. */
  speaker = String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)));
  /** @type {string | URL | undefined} */ #url;
  /** @type {WebSocket | undefined} */ #socket;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #attempt = 0;
  #began = 0;
  #notBefore = 0; // as a server asked that took leave
  #pinged = 0;
  #listening = new AbortController();

  /** Measure the way to the server; a `latency` follows. */
  ping() {
    if (!this.#pinged) this.#ask(PATIENCE);
  }

  /** Disconnect for good. */
  close() {
    this.#stop('closed', 'the page closed the connection');
  }

  /** Tell those who listen for errors, or else the console. @param {Error} error */
  report(error) {
    if (!this.emit('error', error)) console.error(error);
  }

  // For who extends it

  /** @param {string | URL} url */
  connect(url) {
    this.#url = url;
    const { signal } = this.#listening;
    window.addEventListener('online', () => this.#wake(), { signal });
    // There is no network, but the server may be on this very machine.
    window.addEventListener('offline', () => this.#ask(HASTE), { signal });
    document.addEventListener('visibilitychange', () => this.#wake(), { signal });
    this.reconnect();
  }

  /** Leave the connection, if there is one, for another. @param {string} [speaker] */
  reconnect(speaker = this.speaker) {
    this.speaker = speaker;
    if (!this.#url || this.#listening.signal.aborted) return; // it has not begun, or is over
    this.#drop();
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    const client = Uint8Array.from(speaker, (character) => character.charCodeAt(0));
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => socket.send(encode([FROM_CLIENT.HELLO, client]));
    socket.onmessage = ({ data }) => socket === this.#socket && this.#hear(data);
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#lose(code, reason);
    this.#socket = socket;
    this.#began = performance.now();
    this.#schedule(PATIENCE, () => this.#lose());
    this.#become('connecting'); // and who hears of that may stop it
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes @returns whether there is a connection */
  send(bytes) {
    if (this.status === 'online') this.#socket?.send(bytes);
    return this.status === 'online';
  }

  /** Take a message of the server. @param {any[]} message */
  receive([type, , second, third]) {
    if (type === FROM_SERVER.BYE) this.#notBefore = performance.now() + second;
    if (type === FROM_SERVER.PONG && this.#pinged) {
      this.emit('latency', performance.now() - this.#pinged);
      this.#pinged = 0;
    }
    if (type === FROM_SERVER.WELCOME) {
      const socket = this.#socket;
      this.member = second;
      this.server = Object.freeze(third);
      this.emit('welcome', this.server);
      if (socket === this.#socket) this.#become('online');
    }
  }

  /** @param {ArrayBuffer} data */
  #hear(data) {
    this.#schedule(SILENCE, () => this.#ask(PATIENCE));
    try {
      this.receive(/** @type {any} */ (decode(new Uint8Array(data))));
    } catch (error) {
      // What it would have told us we do not know: start afresh.
      this.#lose();
      this.report(/** @type {Error} */ (error));
    }
  }

  #lose(code = 0, reason = '') {
    if (code >= CLOSE.FOR_GOOD) {
      const why = `the server ended the connection: ${reason || 'it gave no reason'} (${code})`;
      return this.#stop(code <= CLOSE.MISTAKE ? 'closed' : 'unauthorized', why);
    }
    const now = performance.now();
    if (this.status === 'online' && now - this.#began > STABLE) this.#attempt = 0;
    const wait = Math.max(0, this.#notBefore - now) + backoff(this.#attempt++, ...RECONNECT);
    this.#drop();
    this.#schedule(wait, () => this.reconnect());
    this.#become('offline');
  }

  /** For good. @param {Status} status @param {string} why */
  #stop(status, why) {
    clearTimeout(this.#timer);
    this.#listening.abort();
    this.#drop();
    this.#become(status, why);
  }

  /** Without waiting for the close event: a dead network may hold it up for a minute. */
  #drop() {
    this.#socket?.close();
    this.#socket = undefined;
    this.#pinged = 0;
  }

  /** The network changed, or somebody may be looking: find out now how things stand. */
  #wake() {
    if (document.hidden || performance.now() < this.#notBefore) return;
    if (this.status === 'online') this.ping();
    else this.reconnect();
  }

  /** Find out whether the server is there, and how far away. @param {number} patience */
  #ask(patience) {
    if (!this.send(encode([FROM_CLIENT.PING]))) return;
    this.#pinged ||= performance.now();
    this.#schedule(patience, () => this.#lose());
  }

  /** There is one thing to wait for at a time. @param {number} delay @param {() => void} then */
  #schedule(delay, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, delay);
  }

  /** @param {Status} status @param {string} why */
  #become(status, why = '') {
    if (this.status === status) return;
    Object.assign(this, { status, why });
    this.emit('status', status, why);
  }
}
