/** A page's rooms, and the one connection that they share. */

import { Connection } from './connection.js';
import { FROM_SERVER, RoomError, checked } from './protocol.js';
import { Room } from './room.js';
import { keep, take } from './storage.js';

/**
 * @typedef {object} Options
 * @property {boolean} [persist] keep pending mutations in sessionStorage when the page is left. The
 *   tab's next page with this option sends them, if it has the same session. Use it for one client
 *   of a page.
 */

/**
 * Events: those of a connection, and `pending` with the new count. Refused joins and events also
 * emit `error`.
 * @extends {Connection<'pending'>}
 */
export class Client extends Connection {
  /** The number of mutations without an answer. */
  pending = 0;

  // For the rooms: the client id of this page's own mutations. While mutations of an earlier page
  // are pending, the connection uses that page's id.
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
   * The room of that name, the same object at each call. It is joined once connected.
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

  /** @param {Room} room @returns whether the client still had it */
  forget(room) {
    return this.#rooms.get(room.name) === room && this.#rooms.delete(room.name);
  }

  /** Update `pending`, and connect with the client id of the mutations to send next. */
  count() {
    const { length } = this.#unanswered();
    if (length === this.pending) return;
    this.pending = length;
    this.emit('pending', length);
    // Mutations of earlier pages come first, each under its own client id.
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
      for (const { client, session, message, room } of take(key)) {
        if (own.includes(client)) continue; // restored from the back/forward cache with them
        this.room(room).add(client, message, session, true).catch((error) => this.report(error));
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
 * @param {string | URL} [url] `/ws` of the page's own server by default
 * @param {Options} [options]
 */
export const connect = (url = '/ws', options = {}) => new Client(url, options);
