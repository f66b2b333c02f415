/** The page's connection to the server, and the rooms it is in. */

import { Emitter } from './emitter.js';
import { encode } from './msgpack.js';
import { FROM_CLIENT, FROM_SERVER, LIMITS, RoomError, checked } from './protocol.js';
import { Room } from './room.js';
import { Socket } from './socket.js';
import { keep, take } from './storage.js';

/** @typedef {import('./socket.js').Status} Status */
/**
 * @typedef {object} Options
 * @property {boolean} [persist] what is pending when the page is left is kept in sessionStorage, and
 *   done by the next page of the tab that connects so, for whoever is signed in by then
 */

export class Client {
  /** @type {Readonly<Record<string, any>> | null} what the server said of itself */
  server = null;
  /** @type {string | null} the name under which others see this page */
  member = null;
  #emitter = new Emitter();
  /** @type {Map<string, Room>} */ #rooms = new Map();
  #socket;
  /** @type {import('./room.js').Link} */ #link;
  #pending = 0;

  /** @param {string | URL} url @param {Options} [options] */
  constructor(url, { persist = false } = {}) {
    const client = crypto.getRandomValues(new Uint8Array(16));
    this.#link = {
      client,
      speaker: client,
      lastMid: 0,
      limits: LIMITS,
      send: (bytes) => this.#socket.send(bytes),
      report: (error) => this.report(error),
      changed: () => this.#count(),
      room: (name, details) => this.#enter(name, details),
      forget: (room) => this.#forget(room),
    };
    this.#socket = new Socket(url, {
      identify: () => (this.#link.speaker = this.#nextSpeaker()),
      status: (status, why) => this.#follow(status, why),
      message: (message) => this.#receive(message),
      error: (error) => this.report(error),
      latency: (milliseconds) => this.#emitter.emit('latency', milliseconds),
    });
    if (persist) this.#outliveThePage(`gospa:${url}`);
  }

  /** @returns {Status} */
  get status() {
    return this.#socket.status;
  }

  /** How many mutations the server has not answered yet. */
  get pending() {
    return this.#pending;
  }

  /**
   * `status`: the new one, and why. `pending`: the new number. `welcome`: what the server said of
   * itself, at each connection. `latency`: milliseconds to the server and back, for each `ping`.
   * `error`: why a join or an event was refused, or a connection given up.
   *
   * @param {'status' | 'pending' | 'welcome' | 'latency' | 'error'} name
   * @param {(...news: any[]) => void} listener
   * @returns {() => void} stops listening
   */
  on(name, listener) {
    return this.#emitter.on(name, listener);
  }

  /** The one room of that name, joined as soon as there is a connection. @param {string} name */
  room(name) {
    return this.#enter(name);
  }

  /** Measure the way to the server; a `latency` follows. */
  ping() {
    this.#socket.ping();
  }

  /** Disconnect for good. */
  close() {
    this.#socket.stop('closed', 'the page closed the connection');
  }

  /** Tell those who listen for errors, or else the console. @param {Error} error */
  report(error) {
    if (!this.#emitter.emit('error', error)) console.error(error);
  }

  /** @param {string} name @param {import('./msgpack.js').Value} [details] */
  #enter(name, details) {
    const room = this.#rooms.get(checked(name)) ?? new Room(name, this.#link);
    if (details !== undefined) room.introduce(details);
    if (!this.#rooms.has(name)) {
      this.#rooms.set(name, room);
      this.#inform(room, this.status);
    }
    return room;
  }

  /** @param {Status} status @param {string} why */
  #follow(status, why) {
    for (const room of this.#rooms.values()) this.#inform(room, status, why);
    this.#emitter.emit('status', status, why);
  }

  /** @param {Room} room @param {Status} status @param {string} [why] */
  #inform(room, status, why) {
    if (status === 'online') room.join();
    else if (status === 'closed' || status === 'unauthorized') {
      room.end(new RoomError(status, why ?? `the connection is ${status}`, room.name));
    } else room.disconnected();
  }

  /** @param {any[]} message */
  #receive(message) {
    const [type, first, second, third, fourth] = message;
    if (type === FROM_SERVER.WELCOME) this.#greet(second, third);
    else if (type === FROM_SERVER.ERROR) this.#refuse(first, new RoomError(second, third, fourth));
    else if (type === FROM_SERVER.ACK) {
      for (const room of this.#rooms.values()) room.acknowledge(first, second, third);
    } else this.#rooms.get(first)?.receive(message);
  }

  /** @param {string} member @param {Record<string, any>} server */
  #greet(member, server) {
    this.member = member;
    this.server = Object.freeze(server);
    const { frame_size: bytes, frame_depth: depth, frame_elements: values } = server;
    this.#link.limits = { bytes, depth: depth ?? LIMITS.depth, values: values ?? LIMITS.values };
    this.#emitter.emit('welcome', this.server);
  }

  /** @param {number | null} mid @param {RoomError} error */
  #refuse(mid, error) {
    const room = this.#rooms.get(error.room ?? '');
    if (room) room.refuse(mid, error);
    else if (mid === null) this.report(error);
    else for (const each of this.#rooms.values()) each.refuse(mid, error);
  }

  /** @param {Room} room */
  #forget(room) {
    if (this.#rooms.get(room.name) !== room) return;
    this.#rooms.delete(room.name);
    this.#socket.send(encode([FROM_CLIENT.LEAVE, room.name]));
  }

  #count() {
    const pending = this.#unanswered();
    if (pending.length === this.#pending) return;
    this.#pending = pending.length;
    this.#emitter.emit('pending', this.#pending);
    const { client, speaker } = this.#link;
    if (speaker !== client && this.#nextSpeaker() !== speaker) this.#socket.reconnect();
  }

  #unanswered() {
    return [...this.#rooms.values()].flatMap((room) => room.pending);
  }

  /** Who a new connection is for: what earlier pages left to do comes first. */
  #nextSpeaker() {
    const { client } = this.#link;
    return this.#unanswered().find((each) => each.client !== client)?.client ?? client;
  }

  /** @param {string} key */
  #outliveThePage(key) {
    for (const { client, mid, room, frame } of take(key)) this.room(room).restore(client, mid, frame);
    this.#count();
    const leave = () => keep(key, this.#unanswered(), (error) => this.report(error));
    window.addEventListener('pagehide', () => {
      leave();
      this.on('pending', leave);
    });
    window.addEventListener('pageshow', ({ persisted }) => persisted && take(key));
  }
}
