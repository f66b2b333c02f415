/** Rooms whose state lives on the server and shows in every browser that is in them. */

export { bind } from './bind.js';
export { Client, connect } from './client.js';
export { RoomError } from './protocol.js';
export { Room } from './room.js';
