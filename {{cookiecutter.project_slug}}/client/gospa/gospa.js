/** Rooms whose state lives on the server and shows in every browser that is in them. */

import { Client } from './client.js';

export { bind } from './bind.js';
export { Client } from './client.js';
export { RoomError } from './protocol.js';
export { Room } from './room.js';

/**
 * @param {string | URL} [url] by default `/ws` where the page came from
 * @param {import('./client.js').Options} [options]
 */
export function connect(url = '/ws', options = {}) {
  const address = new URL(url, window.location.href);
  address.protocol = address.protocol.replace(/^http/, 'ws');
  return new Client(address, options);
}
