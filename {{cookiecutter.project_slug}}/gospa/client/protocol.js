/** The protocol `gospa.v1`: message types, close codes, limits and errors. */

import { encode } from './msgpack.js';

export const SUBPROTOCOL = 'gospa.v1';
// Close codes: the first after which reconnecting would fail, and the last that means a client bug
export const CLOSE = { FOR_GOOD: 4500, MISTAKE: 4501 };
export const MEMBERS = '#members'; // suffix of the room that lists a room's members

export const FROM_SERVER = /** @type {const} */ ({
  SNAPSHOT: 0, PATCH: 1, EVENT: 2, ACK: 3, ERROR: 4, WELCOME: 5, BYE: 6, PONG: 7, JOINED: 8,
});
export const FROM_CLIENT = /** @type {const} */ ({
  JOIN: 0, LEAVE: 1, CALL: 2, WRITE: 3, SEND: 4, PING: 5, HELLO: 6,
});

/**
 * A request that was refused: by the server, or by this client with one of the codes `invalid`,
 * `overflow`, `too_large`, `left`, `other_session` (a mutation of another session than the present
 * one), `closed` and `unauthorized` (the session has ended).
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
 * The bytes of a message about a room. A message that the server would refuse is never sent: the
 * server would close the connection, and the client would send the message again on the next one.
 * @param {any[]} message @param {string} room
 * @param {Record<string, any> | null} server its data in WELCOME, with its limits
 */
export function frame(message, room, server) {
  const { frame_size: size = 65_536, frame_depth = 16, frame_elements = 4096 } = server ?? {};
  try {
    const bytes = encode(message, frame_depth, frame_elements);
    if (bytes.length <= size) return bytes;
  } catch (error) {
    throw new RoomError('invalid', /** @type {Error} */ (error).message, room);
  }
  throw new RoomError('too_large', `a message has at most ${size} bytes`, room);
}

/** A valid name of a room, an action or an event. @param {string} name */
export function checked(name) {
  if (typeof name === 'string' && name !== '' && [...name].length <= 128) return name;
  throw new RoomError('invalid', 'a name has 1 to 128 letters', null);
}
