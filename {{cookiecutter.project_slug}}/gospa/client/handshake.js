/** What a handshake that failed is followed by, over HTTP: a session, or the reason. */

import { PATIENCE } from './times.js';

/** The status of a handshake, which browsers hide; 0 without an answer. @param {URL} url */
export function statusOf(url) {
  const signal = AbortSignal.timeout(PATIENCE);
  const options = /** @type {const} */ ({ method: 'POST', credentials: 'include', signal });
  return fetch(url.href.replace(/^ws/, 'http'), options).then(({ status }) => status, () => 0);
}

/**
 * Begin a session, since browsers may ignore a cookie that comes with a handshake. One tab after the
 * other, so that all of them get the same one. @param {URL} url @returns the status of a handshake
 */
export async function beginSession(url) {
  const ask = () => statusOf(url);
  return globalThis.navigator?.locks?.request('gospa-session', ask) ?? ask();
}
