/** A WebSocket that detects a lost connection and reconnects with backoff. */

import { backoff } from './backoff.js';
import { Emitter } from './emitter.js';
import { decode, encode } from './msgpack.js';
import { CLOSE, FROM_CLIENT, FROM_SERVER, SUBPROTOCOL } from './protocol.js';

// Milliseconds
const SILENCE = 15_000; // without a message, after which a PING is sent
const PATIENCE = 10_000; // timeout of an answer
const HASTE = 2_000; // the same while the browser reports that there is no network
const STABLE = 5_000; // a connection that lasts this long resets the backoff
/** @type {[number, number]} */
const RECONNECT = [500, 20_000];

/** @typedef {'connecting' | 'online' | 'offline' | 'closed' | 'unauthorized'} Status */

/**
 * Events: `status`, with the new status and its reason. `welcome`, with the server's data, at each
 * connection. `latency`, with the round trip in milliseconds, for each `ping`. `error`, with the
 * error that ended a connection.
 * @template {string} More
 * @extends {Emitter<'status' | 'welcome' | 'latency' | 'error' | More>}
 */
export class Connection extends Emitter {
  /** @type {Status} */ status = 'connecting';
  why = ''; // the reason of the status closed or unauthorized, which are final
  /** @type {Readonly<Record<string, any>> | null} the server's data in WELCOME */
  server = null;
  /** @type {string | null} the member id under which others see this page */
  member = null;
  /** @type {Readonly<{ id: string, user: string | null }> | null} whose connection it is */
  session = null;
  /** The client id in HELLO: 16 bytes, each a character. */
  speaker = String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)));
  /** @type {string | URL | undefined} */ #url;
  /** @type {WebSocket | undefined} */ #socket;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #attempt = 0;
  #began = 0;
  #notBefore = 0; // earliest time to reconnect, from BYE
  #pinged = 0;
  #listening = new AbortController();

  /** Measure the round trip to the server; a `latency` event follows. */
  ping() {
    if (!this.#pinged) this.#ask(PATIENCE);
  }

  /** Disconnect for good. */
  close() {
    this.#stop('closed', 'the page closed the connection');
  }

  /** Emit `error`, or log to the console if nothing listens. @param {Error} error */
  report(error) {
    if (!this.emit('error', error)) console.error(error);
  }

  // For subclasses

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

  /** Replace the connection, if there is one. @param {string} [speaker] */
  reconnect(speaker = this.speaker) {
    this.speaker = speaker;
    if (!this.#url || this.#listening.signal.aborted) return; // not started, or closed
    this.#drop();
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    const client = Uint8Array.from(speaker, (character) => character.charCodeAt(0));
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => socket.send(encode([FROM_CLIENT.HELLO, client]));
    socket.onmessage = ({ data }) => socket === this.#socket && this.#read(data);
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#lose(code, reason);
    this.#socket = socket;
    this.#began = performance.now();
    this.#schedule(PATIENCE, () => this.#lose());
    this.#become('connecting'); // last: a listener may close the connection
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes @returns whether there is a connection */
  send(bytes) {
    if (this.status === 'online') this.#socket?.send(bytes);
    return this.status === 'online';
  }

  /** Handle a message from the server. @param {any[]} message */
  receive([type, , second, third, fourth]) {
    if (type === FROM_SERVER.BYE) this.#notBefore = performance.now() + second;
    if (type === FROM_SERVER.PONG && this.#pinged) {
      this.emit('latency', performance.now() - this.#pinged);
      this.#pinged = 0;
    }
    if (type === FROM_SERVER.WELCOME) {
      const socket = this.#socket;
      this.member = second;
      this.server = Object.freeze(third);
      this.session = Object.freeze(fourth);
      this.emit('welcome', this.server);
      if (socket === this.#socket) this.#become('online');
    }
  }

  /** @param {ArrayBuffer} data */
  #read(data) {
    this.#schedule(SILENCE, () => this.#ask(PATIENCE));
    try {
      this.receive(/** @type {any} */ (decode(new Uint8Array(data))));
    } catch (error) {
      // The message is lost, so only a new connection can restore the state.
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

  /** End without reconnecting. @param {Status} status @param {string} why */
  #stop(status, why) {
    clearTimeout(this.#timer);
    this.#listening.abort();
    this.#drop();
    this.#become(status, why);
  }

  /** Does not wait for the close event, which a dead network may delay for a minute. */
  #drop() {
    this.#socket?.close();
    this.#socket = undefined;
    this.#pinged = 0;
  }

  /** Check the connection now: the network is back, or the page became visible. */
  #wake() {
    if (document.hidden || performance.now() < this.#notBefore) return;
    if (this.status === 'online') this.ping();
    else this.reconnect();
  }

  /** Send a PING; without an answer in time, reconnect. @param {number} patience */
  #ask(patience) {
    if (!this.send(encode([FROM_CLIENT.PING]))) return;
    this.#pinged ||= performance.now();
    this.#schedule(patience, () => this.#lose());
  }

  /** Set the only timer. @param {number} delay @param {() => void} then */
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
