/** The messages of the protocol `gospa.v1`, by their first element, and how requests fail. */

import { encode } from './msgpack.js';

export const SUBPROTOCOL = 'gospa.v1';
export const CLOSE_FOR_GOOD = 4500; // from this close code on, the server would refuse us again

export const FROM_SERVER = /** @type {const} */ ({
  SNAPSHOT: 0, PATCH: 1, EVENT: 2, ACK: 3, ERROR: 4, WELCOME: 5, BYE: 6, PONG: 7, JOINED: 8,
});
export const FROM_CLIENT = /** @type {const} */ ({
  JOIN: 0, LEAVE: 1, CALL: 2, WRITE: 3, SEND: 4, PING: 5, HELLO: 6,
});

/**
 * A request that was refused: by the server, or by this client with one of the codes `overflow`,
 * `too_large`, `left`, `closed` and `refused` (the server wants no connection of ours).
 */
export class RoomError extends Error {
  name = 'RoomError';

  /** @param {string} code @param {string} message @param {string | null} room */
  constructor(code, message, room) {
    super(message);
    this.code = code;
    this.room = room;
  }
}

/**
 * The bytes of a message about a room. One that the server will not take must never be sent: the
 * connection would be closed, and the message sent again on the next.
 *
 * @param {[type: number, ...import('./msgpack.js').Value[]]} message
 * @param {string} room
 * @param {number} limit bytes
 */
export function frame(message, room, limit) {
  const bytes = encode(message);
  if (bytes.length <= limit) return bytes;
  throw new RoomError('too_large', `a message has at most ${limit} bytes`, room);
}
