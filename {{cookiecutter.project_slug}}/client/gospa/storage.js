/**
 * What is pending when a page is left, kept in sessionStorage for the next page of the tab.
 *
 * It lies there only from one page to the next, and keeps its client and numbers: whoever sends it,
 * be it two tabs after one was duplicated, the server applies it once. What the next page does
 * itself, it does under a client and numbers of its own.
 */

import { decode, encode } from './msgpack.js';

/** @typedef {import('./mutations.js').Mutation} Mutation */

/** @param {string} key @param {Mutation[]} pending @param {(error: Error) => void} report */
export function keep(key, pending, report) {
  try {
    const bytes = encode(pending.map(({ client, frame }) => [client, frame]));
    if (pending.length === 0) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, Array.from(bytes, (b) => String.fromCharCode(b)).join(''));
  } catch (error) {
    report(/** @type {Error} */ (error)); // it is full, or forbidden
  }
}

/** What was kept, once. @param {string} key */
export function take(key) {
  /** @type {Map<string, Uint8Array>} one object for each client, to be told apart by */
  const clients = new Map();
  try {
    const text = sessionStorage.getItem(key) ?? '\x90';
    sessionStorage.removeItem(key);
    const kept = /** @type {any[]} */ (decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    return kept.map(([client, frame]) => {
      clients.set(`${client}`, clients.get(`${client}`) ?? client);
      const [, mid, room] = /** @type {any} */ (decode(frame));
      return { client: /** @type {Uint8Array} */ (clients.get(`${client}`)), mid, room, frame };
    });
  } catch {
    return []; // forbidden, or not ours
  }
}
