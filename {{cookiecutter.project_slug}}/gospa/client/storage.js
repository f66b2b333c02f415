/**
 * What is pending when a page is left, kept in sessionStorage for the next page of the tab.
 *
 * It lies there only from one page to the next, and keeps its client and numbers: whoever sends it,
 * be it two tabs after one was duplicated, the server applies it once. What the next page does
 * itself, it does under a client and numbers of its own.
 */

import { decode, encode } from './msgpack.js';
import { checked } from './protocol.js';

/** @param {string} key @param {import('./state.js').Mutation[]} pending */
export function keep(key, pending) {
  const bytes = encode(pending.map(({ client, message }) => [client, message]));
  if (pending.length === 0) sessionStorage.removeItem(key);
  else sessionStorage.setItem(key, Array.from(bytes, (b) => String.fromCharCode(b)).join(''));
}

/** What was kept, once. @param {string} key */
export function take(key) {
  try {
    const text = sessionStorage.getItem(key) ?? '\x90';
    sessionStorage.removeItem(key);
    const kept = /** @type {any[]} */ (decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    return kept.map(([client, message]) => ({ client, message, room: checked(message[2]) }));
  } catch {
    return []; // forbidden, or not ours
  }
}
