/** The protocol `gospa.v1`: message types, close codes, limits and errors. */

import { encode } from './msgpack.js';

export const SUBPROTOCOL = 'gospa.v1';
export const WITH_SESSION = 'gospa.session'; // offered to begin a missing session over HTTP
// Close codes: the first of the application; there is no session; another release may know a request; the first after which
// reconnecting would fail, the last that means a client bug, and the one that means an old page
export const CLOSE = {
  OURS: 4000, NO_SESSION: 4003, ANOTHER: 4006, FOR_GOOD: 4500, MISTAKE: 4501, OUTDATED: 4504,
};
export const MEMBERS = '#members'; // suffix of the room that lists a room's members

export const FROM_SERVER = /** @type {const} */ ({
  SNAPSHOT: 0, PATCH: 1, EVENT: 2, ACK: 3, ERROR: 4, WELCOME: 5, BYE: 6, PONG: 7, JOINED: 8,
  DONE: 9,
});
export const FROM_CLIENT = /** @type {const} */ ({
  JOIN: 0, LEAVE: 1, CALL: 2, WRITE: 3, SEND: 4, PING: 5, HELLO: 6, RUN: 7,
});

/**
 * A request that was refused: by the server, or by this client with one of the codes `invalid`,
 * `overflow`, `too_large`, `left`, `other_session` (a request of another session than the present
 * one), `closed` and `unauthorized` (the session has ended).
 */
export class RoomError extends Error {
  name = 'RoomError';
  code = '';
  /** @type {string | null} */ room = null;
  /** @type {string | null} */ action = null;

  /**
   * @param {string} code @param {string} message @param {string | null} room
   * @param {string | null} [action] or command that was called
   */
  constructor(code, message, room, action = null) {
    super(message);
    Object.assign(this, { code, room, action });
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

/** A valid name of a room. @param {string} name */
export function checkedRoom(name) {
  return checked(name, 512);
}

/** A valid name of an action, a command or an event. @param {string} name */
export function checked(name, longest = 128) {
  if (typeof name === 'string' && name !== '' && [...name].length <= longest) return name;
  throw new RoomError('invalid', `a name has 1 to ${longest} letters`, null);
}
