/**
 * Tells a page that the server has another release than the page. Loaded on demand: once connected,
 * so that the module is there when that happens.
 */

const INTERVAL = 30_000; // milliseconds between two `release` events in a tab, also over reloads
const TOLD = 'gospa:release'; // in sessionStorage: when `release` was emitted

/** @type {WeakMap<object, ReturnType<typeof setTimeout>>} by connection */
const timers = new WeakMap();

/**
 * Emit `release` when they differ. In a rolling deploy a reload may get the same page again, so it
 * comes at most once in a while, and again as long as they differ.
 * @param {import('./connection.js').Connection<any>} connection @param {string} page its release
 */
export function compareReleases(connection, page) {
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
