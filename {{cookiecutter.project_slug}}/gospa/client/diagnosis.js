/**
 * Begins sessions over HTTP, and diagnoses connections: why a handshake failed, that the browser
 * keeps no cookie, that the server has another release than the page. Loaded while the server
 * answers the first message, so that it is there when the server is not, or when the first handshake
 * failed.
 */

/** @typedef {import('./connection.js').Connection<any>} Connection */

const INTERVAL = 30_000; // milliseconds between two `release` events in a tab, also over reloads
const TOLD = 'gospa:release'; // in sessionStorage: when `release` was emitted
const ACCEPTED = 204; // the status over HTTP if a handshake would succeed
const PATIENCE = 10_000; // milliseconds until an answer
const COOKIELESS = 'The browser keeps no cookie of this site: a log-in has no effect here, and each '
  + 'connection is that of a new visitor.';

/** @type {WeakMap<Connection, ReturnType<typeof setTimeout>>} */ const timers = new WeakMap();
/** @type {WeakSet<Connection>} that emitted it as an error */ const cookieless = new WeakSet();

/** The status of a handshake, which browsers hide; 0 without an answer. @param {URL} url */
function statusOf(url) {
  const signal = AbortSignal.timeout(PATIENCE);
  const options = /** @type {const} */ ({ method: 'POST', credentials: 'include', signal });
  return fetch(url.href.replace(/^ws/, 'http'), options).then(({ status }) => status, () => 0);
}

/**
 * Begin a session, since browsers may ignore a cookie that comes with a handshake. One tab after the
 * other, so that all of them get the same one. @param {URL} url @returns whether there is one
 */
export async function beginSession(url) {
  const ask = () => statusOf(url);
  return await (globalThis.navigator?.locks?.request('gospa-session', ask) ?? ask()) === ACCEPTED;
}

/**
 * Why a handshake failed; if WebSockets are blocked, also the class to go on with.
 * @param {URL} url @param {boolean} again whether another failed before it
 * @returns {Promise<{ trouble?: string, StreamSocket?: any }>}
 */
export async function diagnose(url, again) {
  const status = await statusOf(url);
  if (!status) return { trouble: 'The server cannot be reached.' };
  if (status !== ACCEPTED) return { trouble: `The server refuses connections just now (${status}).` };
  if (!again) return {};
  const trouble = 'The server answers, but something on the way blocks WebSockets.';
  // Programs have a WebSocket that may send what `fetch` does not, such as a token.
  if (!globalThis.location) return { trouble };
  const stream = await import('./stream.js').catch(() => null);
  if (!stream) console.info('gospa: with the extra `http`, pages go on without WebSockets: docs/http.md');
  return { trouble, StreamSocket: stream?.StreamSocket };
}

/**
 * Report problems of a connection to a server that answers.
 * @param {Connection} connection @param {boolean} isCookieless @param {string | null} release the page's
 */
export function review(connection, isCookieless, release) {
  if (isCookieless) tellCookieless(connection);
  if (release) compareReleases(connection, release);
}

/** @param {Connection} connection with which each begins a new session */
function tellCookieless(connection) {
  const trouble = `${COOKIELESS}${globalThis.isSecureContext ? '' : ' Use HTTPS.'}`;
  if (connection.status !== 'online' || connection.trouble === trouble) return;
  connection.trouble = trouble;
  connection.emit('trouble', trouble);
  if (!cookieless.has(connection)) connection.report(new Error(trouble));
  cookieless.add(connection);
}

/**
 * Emit `release` when the releases differ. In a rolling deploy a reload may get the same page again,
 * so it comes at most once in a while, and again as long as they differ.
 * @param {Connection} connection @param {string} page its release
 */
function compareReleases(connection, page) {
  clearTimeout(timers.get(connection));
  const { status, server } = connection;
  const release = server?.release;
  const differs = status === 'online' && release && release !== page;
  if (!differs && status !== 'outdated') return;
  let wait = INTERVAL;
  try {
    const before = Date.now() - Number(sessionStorage.getItem(TOLD));
    wait = before < 0 || before > INTERVAL ? 0 : INTERVAL - before;
    if (!wait) sessionStorage.setItem(TOLD, String(Date.now()));
  } catch { /* forbidden: never at once, as it may be a reload */ }
  if (!wait) connection.emit('release', release);
  timers.set(connection, setTimeout(compareReleases, wait || INTERVAL, connection, page));
}
