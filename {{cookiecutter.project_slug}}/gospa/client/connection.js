/** A connection that detects that it was lost, and reconnects with backoff. */

import { backoff } from './backoff.js';
import { Emitter } from './emitter.js';
import { decode, encode } from './msgpack.js';
import {
  ANOTHER, BYE, FOR_GOOD, HELLO, MISTAKE, NO_SESSION, OURS, OUTDATED, PING, PONG, SUBPROTOCOL, WELCOME,
  WITH_SESSION,
} from './protocol.js';
import { HASTE, PATIENCE, RECONNECT_FIRST, RECONNECT_LONGEST, SILENCE, STABLE } from './times.js';

const MISSES = 8; // connections to hosts of other releases, after which one of them may refuse

const diagnosis = () => import('./diagnosis.js');

/** @typedef {'connecting' | 'online' | 'offline' | 'closed' | 'unauthorized' | 'outdated'} Status */

/**
 * Events: `status`, with the new status and its reason. `trouble`, with a text, when `trouble`
 * changes. `welcome`, with the server's data, at each connection. `release`, with the server's, if
 * the page has another. `latency`, with the round trip in milliseconds, for each `ping`. `error`,
 * with the error that ended a connection.
 * @template {string} More
 * @extends {Emitter<'status' | 'trouble' | 'welcome' | 'release' | 'latency' | 'error' | More>}
 */
export class Connection extends Emitter {
  /** @type {Status} */ status = 'connecting';
  why = ''; // the reason of a final status, or why it is online without a WebSocket
  trouble = ''; // why there is no connection, or what is wrong with it
  /** @type {Readonly<Record<string, any>> | null} the server's data in WELCOME */
  server = null;
  /** @type {string | null} the member id under which others see this page */
  member = null;
  /** @type {Readonly<{ id: string, user: string | null }> | null} whose connection it is */
  session = null;
  /** @type {string | null} */ sessionId = null;
  /** The client id in HELLO: 16 bytes, each a character. */
  speaker = String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)));
  /** @type {any} a URL, once it is started */ #url;
  /** @type {any} the WebSocket to connect with, */ #First;
  /** @type {any} and what is used instead while something on the way blocks that */ #Socket;
  /** @type {any} */ #socket;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #asked = false; // for a session over HTTP, so that the cookie should have come by now
  #cookieless = false; // whether the browser refuses the cookie
  #attempt = 0;
  #heard = false; // whether this socket brought a message
  /** @type {string | null} */ #release = null; // the page's
  #missed = 0; // hosts in a row that did not know a request
  #began = 0;
  #notBefore = 0; // earliest time to reconnect, from BYE
  #pinged = 0;
  #ahead = 0; // milliseconds by which the server's clock is ahead of this one
  #listening = new AbortController();

  /** The time of the server's clock, in milliseconds. */
  now() {
    return Date.now() + this.#ahead;
  }

  /** Measure the round trip to the server; a `latency` event follows. */
  ping() {
    if (!this.#pinged) this.#ask(PATIENCE);
  }

  /** Connect now instead of after the wait; while connected, check the connection. */
  retry() {
    if (this.status === 'online') this.ping();
    else this.reconnect();
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

  /** @param {URL} url @param {typeof WebSocket} Socket */
  connect(url, Socket) {
    this.#url = url;
    this.#Socket = this.#First = Socket;
    const { addEventListener, document } = globalThis; // outside of pages there are none
    /** @type {any} */
    const meta = document?.querySelector('meta[name=gospa-release]');
    this.#release = meta?.content ?? null;
    const { signal } = this.#listening;
    addEventListener?.('online', () => this.#wake(), { signal });
    // There is no network, but the server may be on this very machine.
    addEventListener?.('offline', () => this.#ask(HASTE), { signal });
    document?.addEventListener('visibilitychange', () => this.#wake(), { signal });
    this.reconnect();
  }

  /** Replace the connection, if there is one. @param {string} [speaker] */
  reconnect(speaker = this.speaker) {
    this.speaker = speaker;
    if (!this.#url || this.#listening.signal.aborted) return; // not started, or closed
    this.#drop();
    const offered = this.#cookieless ? [SUBPROTOCOL] : [SUBPROTOCOL, WITH_SESSION];
    const socket = new this.#Socket(this.#url, offered);
    const client = Uint8Array.from(speaker, (character) => character.charCodeAt(0));
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      diagnosis().catch(() => {}); // in time for what may follow, which asks for it again
      socket.send(encode([HELLO, client, this.#missed < MISSES ? this.#release : null]));
    };
    const ifCurrent = (/** @type {(event: any) => void} */ act) => (/** @type {any} */ event) => {
      if (socket === this.#socket) act(event);
    };
    socket.onmessage = ifCurrent(({ data }) => this.#read(data));
    socket.onclose = ifCurrent(({ code, reason }) => this.#lose(code, reason));
    socket.onback = ifCurrent(() => this.#use(this.#First));
    this.#socket = socket;
    this.#heard = false;
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
    if (type === BYE) this.#notBefore = performance.now() + second;
    if (type === PONG && this.#pinged) {
      this.emit('latency', performance.now() - this.#pinged);
      this.#pinged = 0;
    }
    if (type === WELCOME) {
      const socket = this.#socket;
      this.#asked = false;
      this.member = second;
      this.server = Object.freeze(third);
      this.#ahead = third.time - Date.now();
      this.session = Object.freeze(fourth);
      this.sessionId = fourth.id;
      this.emit('welcome', this.server);
      if (socket !== this.#socket) return; // a listener has ended it
      if (!this.#cookieless) this.#tell('');
      this.#become('online', this.#Socket.why);
    }
  }

  /** A message is lost, so only a new connection can restore the state. @param {any} error */
  fail(error) {
    this.#lose();
    this.report(error);
  }

  /** @param {ArrayBuffer} data */
  #read(data) {
    this.#heard = true;
    this.#schedule(SILENCE, () => this.#ask(PATIENCE));
    try {
      this.receive(/** @type {any} */ (decode(new Uint8Array(data))));
    } catch (error) {
      this.fail(error);
    }
  }

  #lose(code = 0, reason = '') {
    if (code >= FOR_GOOD) {
      const why = `the server ended the connection: ${reason} (${code})`;
      const final = code === OUTDATED ? 'outdated' : 'unauthorized';
      return this.#stop(code <= MISTAKE ? 'closed' : final, why);
    }
    if (code === NO_SESSION) return this.#begin();
    if (!this.#heard && code < OURS) {
      if (this.#Socket.why) {
        this.#Socket = this.#First; // each is tried in turn
        this.#tell(reason);
      } else this.#diagnose(this.#attempt);
    }
    const now = performance.now();
    if (this.status === 'online' && now - this.#began > STABLE) this.#attempt = this.#missed = 0;
    if (code === ANOTHER) this.#missed += 1;
    const wait = backoff(this.#attempt++, RECONNECT_FIRST, RECONNECT_LONGEST);
    this.#drop();
    this.#schedule(Math.max(0, this.#notBefore - now) + wait, () => this.reconnect());
    this.#become('offline');
  }

  /** Begin a session over HTTP, since browsers may ignore a cookie that comes with a handshake. */
  async #begin() {
    this.#drop();
    this.#cookieless ||= this.#asked;
    if (this.#cookieless) return this.reconnect();
    this.#asked = true;
    this.#schedule(2 * PATIENCE, () => this.#lose());
    const asked = diagnosis().then(({ beginSession }) => beginSession(this.#url));
    const begun = await asked.catch(() => false);
    if (!begun) this.#asked = false;
    if (this.#socket || this.status !== 'connecting') return; // the page did not wait for it
    if (this.#asked) this.reconnect();
    else this.#lose();
  }

  /**
   * Find out why a handshake failed. If WebSockets are blocked, use another way.
   * @param {number} attempt from 0 on
   */
  async #diagnose(attempt) {
    const { trouble, StreamSocket } = await diagnosis().then(({ diagnose }) => {
      return diagnose(this.#url, attempt > 0);
    }, () => ({ trouble: 'The server cannot be reached.', StreamSocket: null }));
    if (trouble && this.status !== 'online' && !this.why) this.#tell(trouble);
    if (StreamSocket && !this.#heard && !this.#Socket.why) this.#use(StreamSocket);
  }

  /** Connect with another class. @param {any} Socket */
  #use(Socket) {
    this.#Socket = Socket;
    this.reconnect();
  }

  /** @param {string} trouble */
  #tell(trouble) {
    if (this.trouble === trouble) return;
    this.trouble = trouble;
    this.emit('trouble', trouble);
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
    if (!globalThis.document?.hidden && performance.now() >= this.#notBefore) this.retry();
  }

  /** Send a PING; without an answer in time, reconnect. @param {number} patience */
  #ask(patience) {
    if (!this.send(encode([PING]))) return;
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
    this.status = status;
    this.why = why;
    this.emit('status', status, why);
    if (status !== 'online' && status !== 'outdated') return;
    // If the module does not come, the browser logs that, and the next connection asks for it.
    diagnosis().then(({ review }) => review(this, this.#cookieless, this.#release), () => {});
  }
}
