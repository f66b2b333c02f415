/** Pure functions for a room's confirmed state and the displayed state. */

import { FROM_CLIENT, FROM_SERVER } from './protocol.js';

/** @typedef {Readonly<Record<string, any>>} State */

/**
 * @typedef {object} Replica the confirmed state, after a chain of commits without a gap
 * @property {State} state
 * @property {number | bigint | null} version null until a state is known
 * @property {Uint8Array | null} tag of the last commit; null if a commit is missing
 */

/**
 * @typedef {object} Mutation
 * @property {string} client its client id
 * @property {string | null} session the session it was made in; null before the first connection
 * @property {any[]} message a CALL or WRITE with its mutation number
 * @property {boolean} sent
 * @property {boolean} outcomeUnknown it may have been applied, and its answer was lost
 * @property {number | bigint | null} version of its commit, once it is acknowledged
 * @property {(result: any) => void} resolve
 * @property {(error: unknown) => void} reject
 */

/** @typedef {(state: Record<string, any>, args: any) => void} Optimistic */

/** @type {Replica} */
export const UNKNOWN = { state: Object.freeze(Object.create(null)), version: null, tag: null };

/**
 * The replica after a message. If a commit is missing, it has no tag until the next SNAPSHOT.
 * @param {Replica} replica @param {any[]} message @returns {Replica}
 */
export function applyMessage(replica, [type, , version, first, second, set, deleted]) {
  const { state, tag } = replica;
  const broken = { ...replica, tag: null };
  if (type === FROM_SERVER.SNAPSHOT) return { state: freeze(second), version, tag: first };
  if (type === FROM_SERVER.JOINED) return same(tag, first) ? replica : broken;
  if (type !== FROM_SERVER.PATCH || same(tag, second)) return replica;
  if (!same(tag, first)) return broken;
  /** @type {Record<string, any>} */ const changed = { __proto__: null, ...state, ...set };
  for (const key of deleted) delete changed[key];
  return { state: freeze(changed), version, tag: second };
}

/** @param {Uint8Array | null} one @param {Uint8Array | null} other */
const same = (one, other) => String(one) === String(other);

/**
 * A state with the room's defaults for the keys that it does not have.
 * @param {State} defaults @param {State} state @returns {State}
 */
export const withDefaults = (defaults, state) => freeze({ __proto__: null, ...defaults, ...state });

/**
 * The confirmed state (the base) with the effects of pending mutations applied to it in order.
 * @param {State} state @param {Mutation[]} mutations
 * @param {Record<string, Optimistic>} optimistic the effects of actions, as the page predicts them
 */
export function rebase(state, mutations, optimistic) {
  if (mutations.length === 0) return state;
  /** @type {Record<string, any>} */ const draft = { __proto__: null, ...state };
  for (const { message } of mutations) perform(message, draft, optimistic);
  return freeze(draft);
}

/**
 * @param {any[]} message @param {Record<string, any>} draft
 * @param {Record<string, Optimistic>} optimistic
 */
function perform([type, , , what, more], draft, optimistic) {
  try {
    if (type === FROM_CLIENT.CALL) optimistic[what]?.(draft, more);
    else {
      Object.assign(draft, what);
      for (const key of more) delete draft[key];
    }
  } catch (error) {
    reportError(error); // a bug in the page's own function
  }
}

/** The keys whose values differ. @param {State} before @param {State} after */
export function changedKeys(before, after) {
  const gone = Object.keys(before).filter((key) => !(key in after));
  return Object.keys(after).filter((key) => !equal(before[key], after[key])).concat(gone);
}

/** Freeze a value deeply, except for bytes, which cannot be frozen. @param {any} value */
function freeze(value) {
  const open = !Object.isFrozen(value) && !ArrayBuffer.isView(value);
  if (open) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}

/** @param {any} one @param {any} other @returns {boolean} */
function equal(one, other) {
  if (Object.is(one, other)) return true;
  const [kind, otherKind] = [one, other].map((value) => Object.prototype.toString.call(value));
  if (typeof one !== 'object' || kind !== otherKind) return false;
  if (one instanceof Date) return Number(one) === Number(other);
  const keys = Object.keys(one);
  const { length } = Object.keys(other);
  return keys.length === length && keys.every((key) => key in other && equal(one[key], other[key]));
}
