/** A room's state as the server confirmed it: a chain of commits, followed without a gap. */

/** @typedef {Readonly<Record<string, any>>} State */

export class Replica {
  /** @type {State} */ state = Object.freeze(Object.create(null));
  /** @type {number | bigint | null} */ version = null;
  /** @type {Uint8Array | null} */ tag = null;

  /** Begin a chain. @param {number | bigint} version @param {Uint8Array} tag @param {State} state */
  reset(version, tag, state) {
    Object.assign(this, { version, tag, state: freeze(state) });
  }

  /**
   * Continue the chain; false if a link is missing.
   *
   * @param {number | bigint} version @param {Uint8Array} parent @param {Uint8Array} tag
   * @param {State} set @param {string[]} deleted
   */
  apply(version, parent, tag, set, deleted) {
    if (this.at(tag)) return true;
    if (!this.at(parent)) return false;
    /** @type {Record<string, any>} */
    const state = { __proto__: null, ...this.state, ...set };
    for (const key of deleted) delete state[key];
    this.reset(version, tag, state);
    return true;
  }

  /** Whether the chain ends here. @param {Uint8Array} tag */
  at(tag) {
    return equal(this.tag, tag);
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
  if (value !== null && typeof value === 'object' && !ArrayBuffer.isView(value)) {
    if (!Object.isFrozen(value)) Object.values(Object.freeze(value)).forEach(freeze);
  }
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
