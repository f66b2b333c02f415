/** The page's connection to the server, and the rooms it is in. */

import { Emitter } from './emitter.js';
import { encode } from './msgpack.js';
import { FROM_CLIENT, FROM_SERVER, RoomError, checked } from './protocol.js';
import { Room } from './room.js';
import { Socket } from './socket.js';
import { keep, take } from './storage.js';

/**
 * @typedef {object} Options
 * @property {boolean} [persist] what is pending when the page is left is kept in sessionStorage,
 *   and done by the next page of the tab that connects so, for whoever is signed in by then
 */

/**
 * It tells of `status`: the new one, and why. `pending`: the new number. `welcome`: what the server
 * said of itself, at each connection. `latency`: milliseconds to the server and back, for each
 * `ping`. `error`: why a join or an event was refused, or a connection given up.
 * @extends {Emitter<'status' | 'pending' | 'welcome' | 'latency' | 'error'>}
 */
export class Client extends Emitter {
  /** @type {Readonly<Record<string, any>> | null} what the server said of itself */
  server = null;
  /** @type {string | null} the name under which others see this page */
  member = null;
  /** How many mutations the server has not answered yet. */
  pending = 0;

  // For the rooms: who this page's mutations are numbered for, 16 bytes, each a character; and who
  // the connection is for, the same or a page before a reload
  identity = String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)));
  speaker = this.identity;
  lastMid = 0;
  /** @type {Map<string, Room>} */ #rooms = new Map();
  #socket;

  /** @param {string | URL} url @param {Options} [options] */
  constructor(url, { persist = false } = {}) {
    super();
    this.#socket = new Socket(url, {
      identify: () => {
        this.speaker = this.#nextSpeaker();
        return Uint8Array.from(this.speaker, (character) => character.charCodeAt(0));
      },
      status: (status, why) => {
        for (const room of this.#rooms.values()) room.follow(status, why);
        this.emit('status', status, why);
      },
      message: (message) => this.#receive(message),
      error: (error) => this.report(error),
      latency: (milliseconds) => this.emit('latency', milliseconds),
    });
    if (persist) this.#outliveThePage(`gospa:${url}`);
  }

  get status() {
    return this.#socket.status;
  }

  /**
   * The one room of that name, joined as soon as there is a connection.
   * @param {string} name @param {import('./msgpack.js').Value} [details] see `Room.members`
   */
  room(name, details) {
    const known = this.#rooms.get(checked(name));
    if (known && details !== undefined) known.introduce(details);
    if (known) return known;
    const room = new Room(name, this, details);
    this.#rooms.set(name, room);
    room.follow(this.status, `the connection is ${this.status}`);
    return room;
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
    if (!this.emit('error', error)) console.error(error);
  }

  // For the rooms

  /** @param {Uint8Array<ArrayBuffer>} bytes @returns whether there is a connection */
  send(bytes) {
    return this.#socket.send(bytes);
  }

  /** @param {Room} room */
  forget(room) {
    if (this.#rooms.get(room.name) !== room) return;
    this.#rooms.delete(room.name);
    this.send(encode([FROM_CLIENT.LEAVE, room.name]));
  }

  /** There may be more or fewer mutations without an answer. */
  count() {
    const { length } = this.#unanswered();
    if (length === this.pending) return;
    this.pending = length;
    this.emit('pending', length);
    const { identity, speaker } = this;
    if (speaker !== identity && this.#nextSpeaker() !== speaker) this.#socket.reconnect();
  }

  #unanswered() {
    return [...this.#rooms.values()].flatMap((room) => room.pending);
  }

  /** Who a new connection is for: what earlier pages left to do comes first. */
  #nextSpeaker() {
    const left = this.#unanswered().find(({ client }) => client !== this.identity);
    return left?.client ?? this.identity;
  }

  /** @param {any[]} message */
  #receive(message) {
    const [type, first, second, third, fourth] = message;
    if (type === FROM_SERVER.WELCOME) this.#greet(second, third);
    else if (type === FROM_SERVER.ERROR && first === null) {
      const error = new RoomError(second, third, fourth);
      const room = this.#rooms.get(fourth);
      if (room) room.refuse(error);
      else this.report(error);
    } else if (type === FROM_SERVER.ACK || type === FROM_SERVER.ERROR) {
      for (const room of this.#rooms.values()) room.answer(message);
    } else this.#rooms.get(first)?.receive(message);
  }

  /** @param {string} member @param {Record<string, any>} server */
  #greet(member, server) {
    this.member = member;
    this.server = Object.freeze(server);
    this.emit('welcome', this.server);
  }

  /** @param {string} key */
  #outliveThePage(key) {
    for (const { client, message, room } of take(key)) {
      this.room(room).add(client, message, true).catch((error) => this.report(error));
    }
    const leave = () => keep(key, this.#unanswered());
    window.addEventListener('pagehide', () => {
      this.on('pending', leave);
      leave(); // which may throw: storage is full, or forbidden
    });
    window.addEventListener('pageshow', ({ persisted }) => persisted && take(key));
  }
}
