/** What a handshake that failed is followed by, over HTTP: a session, or the reason. */

const PATIENCE = 10_000; // milliseconds

/** Ask what a handshake would be answered, which browsers hide. @param {URL} address */
async function question(address) {
  const url = new URL(address);
  url.protocol = url.protocol.replace(/^ws/, 'http');
  const signal = AbortSignal.timeout(PATIENCE);
  const options = /** @type {const} */ ({ method: 'POST', credentials: 'include', signal });
  return fetch(url, options).then(({ status }) => status, () => 0);
}

/**
 * Begin a session, since browsers may ignore a cookie that comes with a handshake. One tab after the
 * other, so that all of them get the same one. @param {URL} url
 */
export async function beginSession(url) {
  const ask = async () => {
    const status = await question(url);
    if (status !== 204) throw new Error(`the server answered ${status}`);
  };
  await (globalThis.navigator?.locks?.request('gospa-session', ask) ?? ask());
}

/**
 * Find out why a handshake failed. If WebSockets are blocked, the module with another way is given to
 * `use`.
 * @param {URL} url @param {number} attempt
 * @param {(module: typeof import('./stream.js')) => void} use
 */
export async function diagnose(url, attempt, use) {
  const status = await question(url);
  if (!status) return 'The server cannot be reached.';
  if (status !== 204) return `The server refuses connections just now (${status}).`;
  if (attempt < 1) return null;
  import('./stream.js').then(use, () => {});
  return 'The server answers, but something on the way blocks WebSockets.';
}
