/** A page's rooms, and the one connection that they share. */

import { Connection } from './connection.js';
import { decode, encode } from './msgpack.js';
import { ACK, DONE, ERROR, MAX_ROOM, RoomError, checked } from './protocol.js';
import { Room } from './room.js';
import { isReadyFor, loadCollections } from './state.js';

const ROOT = new URL('..', import.meta.url); // the application's, which may be below a path

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
  /** @type {any[][]} messages that wait for the module of collections */ #held = [];

  /** @param {string | URL} [url] @param {Options} [options] */
  constructor(url = '/ws', { persist = false, WebSocket = globalThis.WebSocket } = {}) {
    super();
    this.on('status', () => {
      this.#held.length = 0; // they came over a connection that has ended
      this.#rooms.forEach((room) => room.enter());
    });
    const base = globalThis.location?.href;
    if (!WebSocket || !(base || URL.canParse(url))) return; // a page that a server renders
    const address = new URL(String(url).replace(/^\/(?!\/)/, ''), base && ROOT);
    address.protocol = address.protocol.replace(/^http/, 'ws');
    const start = () => this.connect(address, WebSocket);
    if (persist) takeOver(this, `gospa:${address}`).finally(start);
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

  get unanswered() {
    return [...this.#rooms.values()].flatMap((room) => room.pending);
  }

  /** Update `pending`. */
  count() {
    const { length } = this.unanswered;
    if (length === this.pending) return;
    this.pending = length;
    this.emit('pending', length);
  }

  /** @param {any[]} message */
  receive(message) {
    super.receive(message);
    if (this.#held.length === 0 && isReadyFor(message)) this.#handle(message);
    else if (this.#held.push(message) === 1) this.#handleHeld();
  }

  /** Messages wait in order for the first one that has collections. */
  async #handleHeld() {
    try {
      await loadCollections();
      for (const message of this.#held) this.#handle(message);
      this.#held.length = 0;
    } catch (error) {
      // If none is left, their connection has ended. The next one loads the module again.
      if (this.#held.length > 0) this.fail(error);
      else this.report(/** @type {Error} */ (error));
    }
  }

  /** @param {any[]} message */
  #handle(message) {
    const [type, first, second, third, fourth] = message;
    if (type === ERROR && first === null) {
      const error = new RoomError(second, third, fourth);
      const room = this.#rooms.get(fourth);
      if (room) room.refuse(error);
      else this.report(error);
    } else if ([ACK, DONE, ERROR].includes(type)) {
      const answered = this.unanswered.find(({ client, message: [, id] }) => {
        return (client ?? this.speaker) === this.speaker && String(id) === String(first);
      });
      if (answered) this.#rooms.get(answered.message[2])?.answer(answered, message);
    } else this.#rooms.get(first)?.receive(message);
  }
}

/**
 * Take over what an earlier page kept. Until then nothing is sent, as it could not be kept.
 * @param {Client} client @param {string} key
 */
const takeOver = async (client, key) =>
  (await import('./persistence.js')).persist(client, key, { decode, encode });

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
