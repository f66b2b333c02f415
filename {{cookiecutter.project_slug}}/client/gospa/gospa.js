/** Rooms whose state lives on the server and shows in every browser that is in them. */

import { Client } from './client.js';

export { Client } from './client.js';
export { MsgpackError } from './msgpack.js';
export { RoomError } from './protocol.js';
export { Room } from './room.js';

/** @param {string | URL} [url] by default `/ws` where the page came from */
export function connect(url = '/ws') {
  const address = new URL(url, window.location.href);
  address.protocol = address.protocol.replace(/^http/, 'ws');
  return new Client(address);
}
