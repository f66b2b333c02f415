/** The bytes of a message, within the limits of the server. */

import { encode } from './msgpack.js';
import { RoomError } from './protocol.js';

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
