/**
 * Requests that are pending when a page is hidden, left or closed, kept in localStorage for the next
 * page of this browser. Loaded for clients with the option `persist`.
 *
 * Mutations keep their client id and numbers, so the server applies them once, even if two pages
 * send them. The next page's own mutations have another client id. Commands keep their ids. Each
 * request keeps the session it was made in; a page of another session rejects it.
 */

// Milliseconds; less than the server remembers what it has applied, by default
const KEPT_FOR = 12 * 3_600_000;

const [CALL, WRITE, RUN] = [2, 3, 7]; // types of messages

/**
 * @param {import('./client.js').Client} client
 * @param {string} key the beginning of the names in localStorage
 * @param {Pick<typeof import('./msgpack.js'), 'decode' | 'encode'>} codec which is loaded with the client
 */
export async function persist(client, key, { decode, encode }) {
  const own = `${key} ${btoa(client.identity)}`;
  /** @type {LockManager | undefined} */ const locks = navigator.locks; // only with HTTPS
  const keep = () => {
    const { sessionId } = client; // the only one that the page has known, if it knows one by now
    const left = client.unanswered.map((each) => {
      return [each.client, each.session ?? sessionId, each.message, since.get(origin(each)) ?? Date.now()];
    });
    try {
      if (left.length === 0) return localStorage.removeItem(own);
      const bytes = encode([Date.now(), left]);
      localStorage.setItem(own, Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
    } catch (error) {
      if (left.length > 0) client.report(/** @type {Error} */ (error)); // full, or forbidden
    }
  };
  /** @type {Map<string, number>} when those from other pages were kept first */ const since = new Map();
  /** @param {string} name */
  const take = (name) => {
    const text = localStorage.getItem(name);
    localStorage.removeItem(name);
    if (text === null) return; // another page was first
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    const [time, left] = /** @type {any[]} */ (decode(bytes));
    const known = client.unanswered.map(origin);
    let old = 0;
    for (const [maker, session, message, first = time] of left.filter(isRequest)) {
      const name = origin({ client: maker, message });
      if (known.includes(name)) continue;
      if (!(Date.now() - first <= KEPT_FOR)) {
        old += 1;
        continue;
      }
      since.set(name, first);
      const added = client.open(message[2]).add(maker, message, { session, outcomeUnknown: true });
      added.catch((error) => client.report(error));
    }
    if (old) client.report(new Error(`${old} changes of ${new Date(time).toLocaleString()} are too old to be sent`));
  };
  /** Take over from a page that has ended. @param {string} name @param {LockOptions} options */
  const adopt = async (name, options) => {
    try {
      await (locks?.request(name, options, (lock) => lock && take(name)) ?? take(name));
    } catch { /* forbidden, or not ours */ }
  };
  let away = false;
  /** @param {boolean} now */
  const follow = (now) => {
    away = now;
    if (now) keep();
    else forget(own);
  };
  client.on('pending', () => {
    if (away) keep();
    // Mutations of earlier pages come first, each on a connection with its own client id.
    const left = client.unanswered.find((each) => each.client && each.client !== client.identity);
    const speaker = left?.client ?? client.identity;
    if (speaker !== client.speaker) client.reconnect(speaker);
  });
  addEventListener('pagehide', () => follow(true));
  addEventListener('pageshow', () => follow(false));
  // Phones end hidden pages without another event.
  document.addEventListener('visibilitychange', () => follow(document.hidden));
  if (document.hidden) follow(true);

  locks?.request(own, () => new Promise(() => {})).catch(() => {}); // held as long as the page is there
  const names = namesIn(key).filter((name) => name !== own);
  await Promise.all(names.map((name) => adopt(name, { ifAvailable: true })));
  for (const name of namesIn(key)) if (name !== own) adopt(name, {}); // once their pages have ended
}

/** @param {string} key */
function namesIn(key) {
  try {
    return Object.keys(localStorage).filter((name) => name.startsWith(`${key} `));
  } catch {
    return []; // forbidden
  }
}

/** @param {string} name */
function forget(name) {
  try {
    localStorage.removeItem(name);
  } catch { /* forbidden */ }
}

/**
 * Whether it is what a page of this release keeps; the server would refuse another for good, and end
 * the connection. @param {any} kept
 */
function isRequest(kept) {
  const [maker, session, message] = Array.isArray(kept) ? kept : [];
  if (!Array.isArray(message) || (session !== null && typeof session !== 'string')) return false;
  const [type, id, room] = message;
  const isMutation = (type === CALL || type === WRITE) && maker?.length === 16 && Number.isSafeInteger(id) && id > 0;
  const isCommand = type === RUN && maker === null && id instanceof Uint8Array && id.length === 16;
  return typeof room === 'string' && (isMutation || isCommand);
}

/**
 * Which request it is, over all pages.
 * @param {Pick<import('./requests.js').Request, 'client' | 'message'>} _
 */
const origin = ({ client, message: [, id] }) => `${client} ${id}`;
