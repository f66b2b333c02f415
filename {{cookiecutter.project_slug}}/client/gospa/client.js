/** The page's connection to the server, and the rooms it is in. */

import { Emitter } from './emitter.js';
import { encode } from './msgpack.js';
import { FROM_CLIENT, FROM_SERVER, RoomError } from './protocol.js';
import { Room } from './room.js';
import { Socket } from './socket.js';

/** @typedef {import('./socket.js').Status} Status */

export class Client {
  /** @type {Readonly<Record<string, any>> | null} what the server said of itself */
  server = null;
  #emitter = new Emitter();
  /** @type {Map<string, Room>} */ #rooms = new Map();
  #socket;
  /** @type {import('./room.js').Link} */ #link;

  /** @param {string | URL} url */
  constructor(url) {
    this.#socket = new Socket(url, {
      status: (status) => this.#follow(status),
      message: (message) => this.#receive(message),
      error: (error) => this.#report(error),
    });
    this.#link = {
      lastMid: 0,
      frameSize: 64 * 1024,
      send: (bytes) => this.#socket.send(bytes),
      report: (error) => this.#report(error),
      forget: (room) => this.#forget(room),
    };
  }

  /** @returns {Status} */
  get status() {
    return this.#socket.status;
  }

  /**
   * `status`: the new one. `welcome`: what the server said of itself, at each connection. `error`:
   * why a join or an event was refused, or a connection given up.
   *
   * @param {'status' | 'welcome' | 'error'} name @param {(news: any) => void} listener
   * @returns {() => void} stops listening
   */
  on(name, listener) {
    return this.#emitter.on(name, listener);
  }

  /** The one room of that name, joined as soon as there is a connection. @param {string} name */
  room(name) {
    const room = this.#rooms.get(name) ?? new Room(name, this.#link);
    if (!this.#rooms.has(name)) {
      this.#rooms.set(name, room);
      this.#inform(room, this.status);
    }
    return room;
  }

  /** Disconnect for good. */
  close() {
    this.#socket.stop('closed');
  }

  /** @param {Status} status */
  #follow(status) {
    for (const room of this.#rooms.values()) this.#inform(room, status);
    this.#emitter.emit('status', status);
  }

  /** @param {Room} room @param {Status} status */
  #inform(room, status) {
    if (status === 'online') room.join();
    else if (status === 'offline') room.disconnected();
    else if (status === 'closed' || status === 'refused') {
      room.end(new RoomError(status, `the connection was ${status}`, room.name));
    }
  }

  /** @param {any[]} message */
  #receive(message) {
    const [type, first, second, third, fourth] = message;
    if (type === FROM_SERVER.WELCOME) this.#greet(third);
    else if (type === FROM_SERVER.ERROR) this.#refuse(first, new RoomError(second, third, fourth));
    else if (type === FROM_SERVER.ACK) {
      for (const room of this.#rooms.values()) room.acknowledge(first, third);
    } else this.#rooms.get(first)?.receive(message);
  }

  /** @param {Record<string, any>} server */
  #greet(server) {
    this.server = Object.freeze(server);
    this.#link.frameSize = server.frame_size;
    this.#emitter.emit('welcome', this.server);
  }

  /** @param {number | null} mid @param {RoomError} error */
  #refuse(mid, error) {
    const room = this.#rooms.get(error.room ?? '');
    if (room) room.refuse(mid, error);
    else if (mid === null) this.#report(error);
    else for (const each of this.#rooms.values()) each.refuse(mid, error);
  }

  /** @param {Room} room */
  #forget(room) {
    if (this.#rooms.get(room.name) !== room) return;
    this.#rooms.delete(room.name);
    this.#socket.send(encode([FROM_CLIENT.LEAVE, room.name]));
  }

  /** @param {Error} error */
  #report(error) {
    if (!this.#emitter.emit('error', error)) console.error(error);
  }
}
