/** The browser client: rooms with state on the server, shown by every member. */

export { bind } from './bind.js';
export { Client, connect } from './client.js';
export { RoomError } from './protocol.js';
export { Room } from './room.js';
