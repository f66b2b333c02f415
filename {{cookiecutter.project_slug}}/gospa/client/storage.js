/**
 * Mutations that are pending when a page is left, kept in sessionStorage for the tab's next page.
 *
 * They keep their client id and numbers, so the server applies them once, even if two tabs send
 * them after a tab was duplicated. The next page's own mutations have another client id.
 */

import { decode, encode } from './msgpack.js';
import { checked } from './protocol.js';

/** @param {string} key @param {import('./state.js').Mutation[]} pending */
export function keep(key, pending) {
  const bytes = encode(pending.map(({ client, session, message }) => [client, session, message]));
  if (pending.length === 0) sessionStorage.removeItem(key);
  else sessionStorage.setItem(key, Array.from(bytes, (b) => String.fromCharCode(b)).join(''));
}

/** Read and remove the kept mutations. @param {string} key */
export function take(key) {
  try {
    const text = sessionStorage.getItem(key) ?? '\x90';
    sessionStorage.removeItem(key);
    const kept = /** @type {any[]} */ (decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    return kept.map(([client, session, message]) => {
      return { client, session, message, room: checked(message[2]) };
    });
  } catch {
    return []; // forbidden, or not ours
  }
}
