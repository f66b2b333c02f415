/** Pure functions for a room's confirmed state and the displayed state. */

import { CALL, JOINED, PATCH, SNAPSHOT, WRITE } from './protocol.js';
import { equal, freeze } from './values.js';

/** @typedef {import('./collection.js').Collection} Collection */
/** @typedef {import('./requests.js').Request} Request */
/** @typedef {Readonly<Record<string, any>>} State fields, and collections */

/**
 * @typedef {object} Replica the confirmed state, after a chain of commits without a gap
 * @property {State} fields
 * @property {Readonly<Record<string, Collection>>} collections none of them empty
 * @property {number | bigint} version 0 until a state is known
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

/** @type {Replica} */
export const UNKNOWN = { fields: NOTHING, collections: NOTHING, version: 0, tag: null };

/** @type {typeof import('./collection.js') | undefined} until it is loaded, there are only fields */
let items;

/** Load what a message with items, or with names of collections, needs. */
export async function loadCollections() {
  items = await import('./collection.js');
}

/** Whether the state that a message brings can be shown. @param {any[]} message */
export function isReadyFor([type, , , , fourth, fifth]) {
  if (items) return true;
  if (type === JOINED) return fifth.length === 0;
  // Of a SNAPSHOT, or of a PATCH: others have no such keys.
  return !Object.keys({ ...fourth, ...fifth }).some((key) => /^[^$/]+\//.test(key));
}

/**
 * What a message changes in a replica. If a commit is missing, it has no tag until the next SNAPSHOT.
 * @param {Replica} replica @param {any[]} message @returns {Partial<Replica>}
 */
export function changesBy(replica, [type, , version, first, second, set, deleted]) {
  if (type === SNAPSHOT) return { ...commit(UNKNOWN, second), version, tag: first };
  const follows = same(replica.tag, first);
  if (type === PATCH && follows) return { ...commit(replica, set, deleted), version, tag: second };
  const isMissing = type === PATCH ? !same(replica.tag, second) : type === JOINED && !follows;
  return isMissing ? { tag: null } : {};
}

/** @param {Uint8Array | null} one @param {Uint8Array | null} other */
const same = (one, other) => String(one) === String(other);

/**
 * The fields and collections after a commit. A key is that of a field, or `<collection>/<id>`; keys
 * that begin with `$` belong to the server.
 * @param {Replica} replica @param {State} set @param {string[]} [deleted]
 */
function commit({ fields, collections }, set, deleted = []) {
  const known = Object.entries({ ...fields, ...set });
  return {
    fields: Object.fromEntries(known.filter(([key]) => !/[$/]/.test(key) && !deleted.includes(key))),
    collections: freeze(items?.commit(collections, set, deleted) ?? collections),
  };
}

/**
 * The state with the defaults for fields that are not set, and each collection.
 * @param {Shape} shape @param {Pick<Replica, 'fields' | 'collections'>} replica @returns {State}
 */
export function withDefaults({ defaults, collections: names }, { fields, collections }) {
  const named = items?.withEmpty(names, collections);
  return freeze({ __proto__: null, ...freeze(defaults), ...fields, ...named });
}

/** The collections of a replica as they are shown. @type {typeof import('./collection.js').adopt} */
export const adopt = (collections, state) => items?.adopt(collections, state) ?? collections;

/** A time after those in the ids of a collection. @param {Collection | undefined} collection */
export const timeAfter = (collection) => items?.timeAfter(collection) ?? 0;

/**
 * The confirmed state (the base) with the effects of pending mutations applied to it in order.
 * @param {State} state @param {State} defaults @param {Request[]} requests
 * @param {Record<string, Optimistic>} optimistic the effects of actions, as the page predicts them
 */
export function rebase(state, defaults, requests, optimistic) {
  if (requests.length === 0) return state;
  const draft = items?.draftOf(state) ?? { __proto__: null, ...state };
  for (const { message } of requests) {
    try {
      perform(message, draft, defaults, optimistic);
    } catch (error) {
      reportError(error); // a bug in the page's own function
    }
  }
  return freeze(items?.seal(draft, state) ?? draft);
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
    const [shown, ids] = items?.share(old, now, equal) ?? [equal(old, now) ? old : now, []];
    if (key in after) state[key] = freeze(shown);
    if (!Object.is(shown, old)) changed.push(key, ...ids.map((id) => `${key}/${id}`));
  }
  return changed.length > 0 ? [Object.freeze(state), changed] : [before, changed];
}

/** The keys of all that a state has, as `update` names them. @param {State} state */
export const keysOf = (state) => update(NOTHING, state)[1];
