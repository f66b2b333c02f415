/** A room's state as the server confirmed it: a chain of commits, followed without a gap. */

/** @typedef {Readonly<Record<string, any>>} State */

export class Replica {
  /** @type {State} */ state = Object.freeze(Object.create(null));
  /** @type {number | bigint | null} */ version = null;
  /** @type {Uint8Array | null} */ tag = null;

  /**
   * Begin a chain. Returns the keys whose values differ from before.
   *
   * @param {number | bigint} version @param {Uint8Array} tag @param {State} state
   */
  reset(version, tag, state) {
    const before = this.state;
    Object.assign(this, { version, tag, state: freeze(state) });
    return Object.keys({ ...before, ...state }).filter((key) => !equal(before[key], state[key]));
  }

  /**
   * Continue the chain. Returns the keys that changed, or null if a link is missing.
   *
   * @param {number | bigint} version @param {Uint8Array} parent @param {Uint8Array} tag
   * @param {State} set @param {string[]} deleted
   */
  apply(version, parent, tag, set, deleted) {
    if (this.at(tag)) return [];
    if (!this.at(parent)) return null;
    /** @type {Record<string, any>} */
    const state = { __proto__: null, ...this.state, ...set };
    for (const key of deleted) delete state[key];
    Object.assign(this, { version, tag, state: freeze(state) });
    return [...Object.keys(set), ...deleted];
  }

  /** Whether the chain ends here. @param {Uint8Array} tag */
  at(tag) {
    return equal(this.tag, tag);
  }
}

/** With all it holds, but for bytes, which cannot be frozen. @param {any} value */
function freeze(value) {
  if (value !== null && typeof value === 'object' && !ArrayBuffer.isView(value)) {
    if (!Object.isFrozen(value)) Object.values(Object.freeze(value)).forEach(freeze);
  }
  return value;
}

/** @param {any} one @param {any} other @returns {boolean} */
function equal(one, other) {
  if (Object.is(one, other)) return true;
  if (!one || !other || typeof one !== 'object' || typeof other !== 'object') return false;
  if (Object.getPrototypeOf(one) !== Object.getPrototypeOf(other)) return false;
  if (one instanceof Date) return one.getTime() === other.getTime();
  const keys = Object.keys(one);
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && equal(one[key], other[key]))
  );
}
