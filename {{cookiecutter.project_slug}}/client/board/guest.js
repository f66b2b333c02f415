/** The guest that the server plays, only with GOSPA_DEMO=true: see `invite` in rooms/board.py. */

import { showGuest } from './people.js';

const INVITED_EVERY = 30_000; // milliseconds, while somebody looks; it leaves some time later
const WIDTH = 8; // words, after which its pointer is at the left again

/**
 * @param {import('/gospa/gospa.js').Client} client
 * @param {import('/gospa/gospa.js').Room} board
 * @param {ReturnType<typeof import('./pointers.js').showPointers>} point
 */
export function inviteGuest(client, board, point) {
  const invite = () => {
    const isDemo = client.server?.pid !== undefined;
    if (isDemo && client.status === 'online' && !document.hidden) board.call('invite').catch(() => {});
  };
  client.on('status', invite);
  setInterval(invite, INVITED_EVERY);
  board.subscribe(({ guest }, keys) => {
    if (!keys.includes('guest')) return;
    showGuest(guest?.name ?? '');
    if (!guest) return;
    const [column, row] = [guest.turn % WIDTH, Math.floor(guest.turn / WIDTH) % 3];
    point('guest', guest.name, { note: guest.note, x: 0.15 + 0.09 * column, y: 0.45 + 0.09 * row });
  });
}
