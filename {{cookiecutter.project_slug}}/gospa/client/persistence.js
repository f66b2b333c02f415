/**
 * Requests that are pending when a page is hidden or left, kept in sessionStorage for the tab's next
 * page. Loaded for clients with the option `persist`.
 *
 * Mutations keep their client id and numbers, so the server applies them once, even if two tabs
 * send them after a tab was duplicated. The next page's own mutations have another client id.
 * Commands keep their ids.
 */

/**
 * @typedef {object} Kept the client's part
 * @property {string} key in sessionStorage
 * @property {() => import('./requests.js').Request[]} pending
 * @property {typeof import('./msgpack.js').encode} encode
 * @property {typeof import('./msgpack.js').decode} decode
 */

/** @param {import('./client.js').Client} client @param {Kept} kept */
export function persist(client, { key, pending, encode, decode }) {
  const keep = () => {
    const { sessionId } = client; // the only one that the page has known, if it knows one by now
    const left = pending().map((each) => [each.client, each.session ?? sessionId, each.message]);
    try {
      if (left.length === 0) return sessionStorage.removeItem(key);
      sessionStorage.setItem(key, Array.from(encode(left), (b) => String.fromCharCode(b)).join(''));
    } catch (error) {
      if (left.length > 0) client.report(/** @type {Error} */ (error)); // full, or forbidden
    }
  };
  const take = () => {
    const text = sessionStorage.getItem(key) ?? '\x90';
    sessionStorage.removeItem(key);
    const own = pending().map(origin).concat(client.identity);
    const left = /** @type {any[]} */ (decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    for (const [maker, session, message] of left) {
      // A page that is restored from the back/forward cache still has them.
      if (own.includes(origin({ client: maker, message }))) continue;
      const added = client.open(message[2]).add(maker, message, { session, outcomeUnknown: true });
      added.catch((error) => client.report(error));
    }
  };
  const adopt = () => {
    try {
      take();
    } catch { /* forbidden, or not ours */ }
  };
  let away = false;
  /** @param {boolean} now */
  const follow = (now) => {
    if (now) keep();
    else if (away) adopt(); // of what this page itself kept, nothing
    away = now;
  };
  adopt();
  client.on('pending', () => away && keep());
  addEventListener('pagehide', () => follow(true));
  addEventListener('pageshow', () => follow(false));
  // Phones end hidden pages without another event.
  document.addEventListener('visibilitychange', () => follow(document.hidden));
  if (document.hidden) follow(true);
}

/**
 * The client id of a mutation, or a command's own id.
 * @param {Pick<import('./requests.js').Request, 'client' | 'message'>} _
 */
const origin = ({ client, message: [, id] }) => client ?? String(id);
