/** Values of a state: frozen deeply, and compared by their content. */

/** Freeze a value deeply, except for bytes, which cannot be frozen. @param {any} value */
export function freeze(value) {
  const open = !Object.isFrozen(value) && !ArrayBuffer.isView(value);
  if (open) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}

const kindOf = (/** @type {any} */ value) => Object.prototype.toString.call(value);

/** @param {any} one @param {any} other @returns {boolean} */
export function equal(one, other) {
  if (Object.is(one, other)) return true;
  if (typeof one !== 'object' || kindOf(one) !== kindOf(other)) return false;
  if (one instanceof Date) return Number(one) === Number(other);
  const keys = Object.keys(one);
  const { length } = Object.keys(other);
  return keys.length === length && keys.every((key) => key in other && equal(one[key], other[key]));
}
