/** The protocol `gospa.v1`: message types, close codes and errors. */

// A module without imports that begins with its numbers: bundlers then replace their names.

// Messages of the server
export const SNAPSHOT = 0;
export const PATCH = 1;
export const EVENT = 2;
export const ACK = 3;
export const ERROR = 4;
export const WELCOME = 5;
export const BYE = 6;
export const PONG = 7;
export const JOINED = 8;
export const DONE = 9;

// Messages of the client
export const JOIN = 0;
export const LEAVE = 1;
export const CALL = 2;
export const WRITE = 3;
export const SEND = 4;
export const PING = 5;
export const HELLO = 6;
export const RUN = 7;

// Close codes
export const OURS = 4000; // the first of the application
export const NO_SESSION = 4003;
export const ANOTHER = 4006; // another release may know a request
export const FOR_GOOD = 4500; // the first after which reconnecting would fail
export const MISTAKE = 4501; // the last that means a client bug
export const OUTDATED = 4504; // an old page

export const MAX_ROOM = 512; // characters of a room's name

export const SUBPROTOCOL = 'gospa.v1';
export const WITH_SESSION = 'gospa.session'; // offered to begin a missing session over HTTP
export const MEMBERS = '#members'; // suffix of the room that lists a room's members

/**
 * A request that was refused: by the server, or by this client with one of the codes `invalid`,
 * `overflow`, `too_large`, `left`, `other_session` (a request of another session than the present
 * one), `closed` and `unauthorized` (the session has ended).
 */
export class RoomError extends Error {
  name = 'RoomError';

  /**
   * @param {string} code @param {string} message @param {string | null} room
   * @param {string | null} [action] or command that was called
   */
  constructor(code, message, room, action = null) {
    super(message);
    this.code = code;
    this.room = room;
    this.action = action;
  }
}

/** A valid name, by default of an action, a command or an event. @param {string} name */
export function checked(name, longest = 128) {
  if (typeof name === 'string' && name !== '' && [...name].length <= longest) return name;
  throw new RoomError('invalid', `a name has 1 to ${longest} letters`, null);
}
