/** Pure functions for a room's confirmed state and the displayed state. */

import { Collection, EMPTY, draftOf, seal, share } from './collection.js';
import { CALL, JOINED, PATCH, SNAPSHOT, WRITE } from './protocol.js';
import { freeze } from './values.js';

/** @typedef {import('./requests.js').Request} Request */
/** @typedef {Readonly<Record<string, any>>} State fields, and collections */

/**
 * @typedef {object} Replica the confirmed state, after a chain of commits without a gap
 * @property {Readonly<Record<string, Collection>>} content collections, none
 *   of them empty; '' has the fields
 * @property {number | bigint | null} version null until a state is known
 * @property {Uint8Array | null} tag of the last commit; null if a commit is missing
 */

/**
 * @typedef {object} Shape of the states that this release of the server knows
 * @property {State} defaults of the fields
 * @property {string[]} collections names
 */

/** @typedef {(state: Record<string, any>, args: any) => void} Optimistic */

/** @type {State} */
export const NOTHING = Object.freeze(Object.create(null));

/**
 * What a message changes in a replica. If a commit is missing, it has no tag until the next SNAPSHOT.
 * @param {Replica} replica @param {any[]} message @returns {Partial<Replica>}
 */
export function changesBy({ content, tag }, [type, , version, first, second, set, deleted]) {
  if (type === SNAPSHOT) return { content: commit(NOTHING, second), version, tag: first };
  const follows = same(tag, first);
  if (type === PATCH && follows) return { content: commit(content, set, deleted), version, tag: second };
  const isMissing = type === PATCH ? !same(tag, second) : type === JOINED && !follows;
  return isMissing ? { tag: null } : {};
}

/** @param {Uint8Array | null} one @param {Uint8Array | null} other */
const same = (one, other) => String(one) === String(other);

/**
 * The content after a commit. A key is that of a field, or `<collection>/<id>`; keys that begin
 * with `$` belong to the server.
 * @param {Replica['content']} content @param {State} set @param {string[]} [deleted]
 */
function commit(content, set, deleted = []) {
  const draft = draftOf(content);
  for (const [key, value] of [...Object.entries(set), ...deleted.map((key) => [key])]) {
    if (key.startsWith('$')) continue;
    const slash = key.indexOf('/'); // the first: an id may have others
    const name = key.slice(0, Math.max(slash, 0));
    const items = (draft[name] ??= new Map());
    if (value === undefined) {
      items.delete(key.slice(slash + 1));
      if (items.size === 0) delete draft[name];
    } else items.set(key.slice(slash + 1), value);
  }
  return seal(draft, content);
}

/**
 * The state with the defaults for fields that are not set, and each collection.
 * @param {Shape} shape @param {Replica['content']} content @returns {State}
 */
export function withDefaults({ defaults, collections }, { '': fields = EMPTY, ...others }) {
  const known = Object.fromEntries([...fields, ...collections.map((name) => [name, EMPTY])]);
  return Object.freeze({ __proto__: null, ...freeze(defaults), ...known, ...others });
}

/**
 * The content with the collections that are shown, which are equal to its own. They share more with
 * the states shown before, so that the next commit is compared with less.
 * @param {Replica['content']} content @param {State} state @returns {Replica['content']}
 */
export function adopt(content, state) {
  /** @type {Record<string, any>} */ const adopted = { __proto__: null, ...content };
  for (const key in adopted) if (state[key] instanceof Collection) adopted[key] = state[key];
  return Object.freeze(adopted);
}

/**
 * The confirmed state (the base) with the effects of pending mutations applied to it in order.
 * @param {State} state @param {State} defaults @param {Request[]} requests
 * @param {Record<string, Optimistic>} optimistic the effects of actions, as the page predicts them
 */
export function rebase(state, defaults, requests, optimistic) {
  if (requests.length === 0) return state;
  const draft = draftOf(state);
  for (const { message } of requests) {
    try {
      perform(message, draft, defaults, optimistic);
    } catch (error) {
      reportError(error); // a bug in the page's own function
    }
  }
  return seal(draft, state);
}

/**
 * @param {any[]} message @param {Record<string, any>} draft @param {State} defaults
 * @param {Record<string, Optimistic>} optimistic
 */
function perform([type, , , what, more], draft, defaults, optimistic) {
  if (type === CALL) optimistic[what]?.(draft, more);
  if (type !== WRITE) return;
  Object.assign(draft, what);
  for (const key of more) {
    if (key in defaults) draft[key] = defaults[key];
    else delete draft[key];
  }
}

/**
 * The next state to show, which shares with the one before it what is equal, and the keys that
 * changed: those of fields and collections, and for each item also `<collection>/<id>`.
 * @param {State} before @param {State} after @returns {[State, string[]]}
 */
export function update(before, after) {
  /** @type {Record<string, any>} */ const state = { __proto__: null, ...after };
  /** @type {string[]} */ const changed = [];
  for (const key of Object.keys({ ...before, ...after })) {
    const [old, now] = [before[key], after[key]];
    if (old === now) continue;
    const [shown, ids] = share(old, now);
    if (key in after) state[key] = shown;
    if (!Object.is(shown, old)) changed.push(key, ...ids.map((id) => `${key}/${id}`));
  }
  return changed.length > 0 ? [Object.freeze(state), changed] : [before, changed];
}

/** The keys of all that a state has, as `update` names them. @param {State} state */
export const keysOf = (state) => update(NOTHING, state)[1];
