/** The rooms a page is in, and the one connection that they share. */

import { Connection } from './connection.js';
import { FROM_SERVER, RoomError, checked } from './protocol.js';
import { Room } from './room.js';
import { keep, take } from './storage.js';

/**
 * @typedef {object} Options
 * @property {boolean} [persist] what is pending when the page is left is kept in sessionStorage,
 *   and done by the next page of the tab that connects so, for whoever is signed in by then; for
 *   one client of a page
 */

/**
 * It tells of what a connection tells, and of `pending`: the new number. `error` tells also why a
 * join or an event was refused.
 * @extends {Connection<'pending'>}
 */
export class Client extends Connection {
  /** How many mutations the server has not answered yet. */
  pending = 0;

  // For the rooms: who this page's mutations are numbered for. Until what a page before a reload
  // left is done, the connection speaks for that one instead.
  identity = this.speaker;
  lastMid = 0;
  /** @type {Map<string, Room>} */ #rooms = new Map();

  /** @param {string | URL} url @param {Options} [options] */
  constructor(url, { persist = false } = {}) {
    super();
    const address = new URL(url, window.location.href);
    address.protocol = address.protocol.replace(/^http/, 'ws');
    this.on('status', () => this.#rooms.forEach((room) => room.enter()));
    if (persist) this.#outliveThePage(`gospa:${address}`);
    this.connect(address);
  }

  /**
   * The one room of that name, joined as soon as there is a connection.
   * @param {string} name @param {import('./msgpack.js').Value} [details] see `Room.members`
   */
  room(name, details) {
    const known = this.#rooms.get(checked(name));
    const room = known ?? new Room(name, this);
    if (!known || details !== undefined) room.enter(details);
    this.#rooms.set(name, room);
    return room;
  }

  // For the rooms

  /** @param {Room} room @returns whether it was not forgotten before */
  forget(room) {
    return this.#rooms.get(room.name) === room && this.#rooms.delete(room.name);
  }

  /** There may be more or fewer mutations without an answer. */
  count() {
    const { length } = this.#unanswered();
    if (length === this.pending) return;
    this.pending = length;
    this.emit('pending', length);
    // What earlier pages left to do comes first, each under its own name.
    const left = this.#unanswered().find(({ client }) => client !== this.identity);
    const speaker = left?.client ?? this.identity;
    if (speaker !== this.speaker) this.reconnect(speaker);
  }

  /** @param {any[]} message */
  receive(message) {
    super.receive(message);
    const [type, first, second, third, fourth] = message;
    if (type === FROM_SERVER.ERROR && first === null) {
      const error = new RoomError(second, third, fourth);
      const room = this.#rooms.get(fourth);
      if (room) room.refuse(error);
      else this.report(error);
    } else if (type === FROM_SERVER.ACK || type === FROM_SERVER.ERROR) {
      const answered = this.#unanswered().find(
        ({ client, message: [, mid] }) => client === this.speaker && mid === first,
      );
      if (answered) this.#rooms.get(answered.message[2])?.answer(answered, message);
    } else this.#rooms.get(first)?.receive(message);
  }

  #unanswered() {
    return [...this.#rooms.values()].flatMap((room) => room.pending);
  }

  /** @param {string} key */
  #outliveThePage(key) {
    const adopt = () => {
      const own = this.#unanswered().map(({ client }) => client).concat(this.identity);
      for (const { client, message, room } of take(key)) {
        if (own.includes(client)) continue; // this page is back, and still has them
        this.room(room).add(client, message, true).catch((error) => this.report(error));
      }
    };
    adopt();
    const leave = () => keep(key, this.#unanswered());
    window.addEventListener('pagehide', () => {
      this.on('pending', leave);
      leave(); // which may throw: storage is full, or forbidden
    });
    window.addEventListener('pageshow', ({ persisted }) => persisted && adopt());
  }
}

/**
 * @param {string | URL} [url] by default `/ws` where the page came from
 * @param {Options} [options]
 */
export const connect = (url = '/ws', options = {}) => new Client(url, options);
