/** A page's rooms, and the one connection that they share. */

import { Connection } from './connection.js';
import { decode, encode } from './msgpack.js';
import { ACK, CALL, DONE, ERROR, MAX_ROOM, RUN, RoomError, WRITE, checked } from './protocol.js';
import { Room } from './room.js';

const ROOT = new URL('..', import.meta.url); // the application's, which may be below a path
/** @type {number[]} */ const ANSWERS = [ACK, DONE, ERROR];

/**
 * @typedef {object} Options
 * @property {boolean} [persist] keep pending requests for 12 hours when the page is hidden, left or
 *   closed. The browser's next page with this option sends them, if it has the same session. Use it
 *   for one client of a page.
 * @property {typeof globalThis.WebSocket} [WebSocket] the class to connect with, outside of browsers
 */

/**
 * Events: those of a connection, and `pending` with the new count. Refused joins and events also
 * emit `error`.
 * @extends {Connection<'pending'>}
 */
export class Client extends Connection {
  /** The number of mutations and commands without an answer. */
  pending = 0;

  // For the rooms: the client id of this page's own mutations. While mutations of an earlier page
  // are pending, the connection uses that page's id.
  identity = this.speaker;
  lastMid = 0;
  /** @type {Map<string, Room>} */ #rooms = new Map();

  /** @param {string | URL} [url] @param {Options} [options] */
  constructor(url = '/ws', { persist = false, WebSocket = globalThis.WebSocket } = {}) {
    super();
    this.on('status', () => this.#rooms.forEach((room) => room.enter()));
    const base = globalThis.location?.href;
    if (!WebSocket || !(base || URL.canParse(url))) return; // a page that a server renders
    const address = new URL(String(url).replace(/^\/(?!\/)/, ''), base && ROOT);
    address.protocol = address.protocol.replace(/^http/, 'ws');
    const start = () => this.connect(address, WebSocket);
    if (persist) this.#takeOver(`gospa:${address}`).finally(start);
    else start();
  }

  /**
   * The room of that name, the same object at each call until it is left as often. It is joined once
   * connected.
   * @param {string} name @param {import('./msgpack.js').Value} [details] see `Room.members`
   */
  room(name, details) {
    const room = this.open(name, details);
    room.holders += 1;
    return room;
  }

  // For the rooms

  /**
   * A room as `room` has it, but not counted.
   * @param {string} name @param {import('./msgpack.js').Value} [details]
   */
  open(name, details) {
    const known = this.#rooms.get(checked(name, MAX_ROOM));
    const room = known ?? new Room(name, this);
    if (!known || details !== undefined) room.enter(details);
    this.#rooms.set(name, room);
    return room;
  }

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
    const left = this.#unanswered().find(({ client }) => client && client !== this.identity);
    const speaker = left?.client ?? this.identity;
    if (speaker !== this.speaker) this.reconnect(speaker);
  }

  /** @param {any[]} message */
  receive(message) {
    super.receive(message);
    const [type, first, second, third, fourth] = message;
    if (type === ERROR && first === null) {
      const error = new RoomError(second, third, fourth);
      const room = this.#rooms.get(fourth);
      if (room) room.refuse(error);
      else this.report(error);
    } else if (ANSWERS.includes(type)) {
      const answered = this.#unanswered().find(({ client, message: [, id] }) => {
        return (client ?? this.speaker) === this.speaker && String(id) === String(first);
      });
      if (answered) this.#rooms.get(answered.message[2])?.answer(answered, message);
    } else this.#rooms.get(first)?.receive(message);
  }

  #unanswered() {
    return [...this.#rooms.values()].flatMap((room) => room.pending);
  }

  /** Take over what an earlier page kept. Until then nothing is sent, as it could not be kept. */
  async #takeOver(/** @type {string} */ key) {
    const { persist } = await import('./persistence.js');
    await persist(this, key, () => this.#unanswered(), { decode, encode, CALL, RUN, WRITE });
  }
}

/**
 * @param {string | URL} [url] `/ws` of the application by default, wherever a proxy serves it
 * @param {Options} [options]
 */
export const connect = (url, options) => new Client(url, options);

/**
 * Fill the elements with `data-room` and follow them, once the module for it is loaded.
 * @param {Client} client @param {ParentNode} [root]
 */
export const bind = async (client, root) => (await import('./bind.js')).bind(client, root);
