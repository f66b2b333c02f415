/** The browser client: rooms with state on the server, shown by every member. */

export { Client, bind, connect } from './client.js';
export { RoomError } from './protocol.js';
export { Room } from './room.js';
