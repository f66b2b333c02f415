/** A room's state as the server confirmed it: a chain of commits, followed without a gap. */

import { FROM_SERVER } from './protocol.js';

/** @typedef {Readonly<Record<string, any>>} State */

export class Replica {
  /** @type {State} */ state = Object.freeze(Object.create(null));
  /** @type {number | bigint | null} */ version = null;
  /** @type {Uint8Array | null} of the last commit; null if a link is missing */
  tag = null;

  /**
   * Take a SNAPSHOT, PATCH or JOINED; false if a link is missing, until the next SNAPSHOT.
   * @param {any[]} message
   */
  follow([type, , version, first, second, set, deleted]) {
    if (type === FROM_SERVER.SNAPSHOT) this.#commit(version, first, second);
    else if (type === FROM_SERVER.JOINED && !equal(this.tag, first)) this.tag = null;
    else if (type === FROM_SERVER.PATCH && !equal(this.tag, second)) {
      /** @type {Record<string, any>} */
      const state = { __proto__: null, ...this.state, ...set };
      for (const key of deleted) delete state[key];
      if (equal(this.tag, first)) this.#commit(version, second, state);
      else this.tag = null;
    }
    return this.tag !== null;
  }

  /** @param {number | bigint} version @param {Uint8Array} tag @param {State} state */
  #commit(version, tag, state) {
    Object.assign(this, { version, tag, state: freeze(state) });
  }
}

/** The keys whose values differ. @param {State} before @param {State} after */
export function changedKeys(before, after) {
  if (before === after) return [];
  const gone = Object.keys(before).filter((key) => !(key in after));
  return [...Object.keys(after).filter((key) => !equal(before[key], after[key])), ...gone];
}

/** With all it holds, but for bytes, which cannot be frozen. @param {any} value */
export function freeze(value) {
  const open = !Object.isFrozen(value) && !ArrayBuffer.isView(value);
  if (open) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}

/** @param {any} one @param {any} other @returns {boolean} */
function equal(one, other) {
  if (Object.is(one, other)) return true;
  if (!one || !other || typeof one !== 'object' || typeof other !== 'object') return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  if (one instanceof Date || other instanceof Date) return Number(one) === Number(other);
  const keys = Object.keys(one);
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && equal(one[key], other[key]))
  );
}
