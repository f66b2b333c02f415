/**
 * Values to msgpack bytes and back. Format: https://github.com/msgpack/msgpack/blob/master/spec.md
 *
 * @typedef {null | boolean | number | bigint | string | Uint8Array | Date | any[]
 *   | { [key: string]: Value }} Value
 * @typedef {keyof typeof SIZES} Kind of a number, as DataView names it
 */

const MAX_DEPTH = 64; // of received values
const TIMESTAMP = 0xff; // -1 as a byte
const NANOSECONDS = 1_000_000; // in a millisecond, the precision of Date
const YEARS = [-62_135_596_800_000, 253_402_300_799_999]; // 1 to 9999, as in Python

// Sizes of numbers in bytes, in the order of their first bytes, from 0xca on
const SIZES = {
  Float32: 4, Float64: 8, Uint8: 1, Uint16: 2, Uint32: 4, BigUint64: 8,
  Int8: 1, Int16: 2, Int32: 4, BigInt64: 8,
};
const NUMBERS = /** @type {Kind[]} */ (Object.keys(SIZES));

// The kinds of numbers in which the length of a value follows its first byte
const LENGTHS = /** @type {Kind[]} */ (['Uint8', 'Uint16', 'Uint32']);

// How a value is written: a number below the second one inside the first byte, else as 32 bits
// after a byte of its own
const NATURAL = [0, 128, 0xce];
const TEXT = [0xa0, 32, 0xdb];
const BYTES = [0, 0, 0xc6];
const ARRAY = [0x90, 16, 0xdd];
const MAP = [0x80, 16, 0xdf];

const toUtf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A value that msgpack cannot carry, or bytes that are not one msgpack value. */
export class MsgpackError extends Error {
  name = 'MsgpackError';
}

/** @param {Value} value @param {number} maxDepth @param {number} maxValues within the outermost */
export function encode(value, maxDepth = MAX_DEPTH, maxValues = Infinity) {
  /** @type {number[]} */ const bytes = [];
  /** @type {any} */ const word = new DataView(new ArrayBuffer(8));
  let values = -1;
  write(value, 0);
  return Uint8Array.from(bytes);

  /** @param {Value} value @param {number} depth */
  function write(value, depth) {
    values += 1;
    if (depth > maxDepth) throw new MsgpackError('a value is nested too deep');
    if (values > maxValues) throw new MsgpackError('there are too many values');
    if (value === null) bytes.push(0xc0);
    else if (typeof value === 'boolean') bytes.push(value ? 0xc3 : 0xc2);
    else if (typeof value === 'number' || typeof value === 'bigint') number(value);
    else if (typeof value === 'string') text(value);
    else if (value instanceof Uint8Array) raw(BYTES, value);
    else if (value instanceof Date) timestamp(value.getTime());
    else if (Array.isArray(value)) {
      head(ARRAY, value.length);
      for (const item of value) write(item, depth + 1);
    } else if (isMap(value)) {
      const entries = Object.entries(value);
      head(MAP, entries.length);
      for (const [key, item] of entries) {
        text(key);
        name(key, () => write(item, depth + 1));
      }
    } else throw new MsgpackError(`${Object.prototype.toString.call(value)} cannot be encoded`);
  }

  /** Name the key of a value that cannot be encoded. @param {string} key @param {() => void} act */
  function name(key, act) {
    try {
      act();
    } catch (cause) {
      throw new MsgpackError(`${key}: ${/** @type {Error} */ (cause).message}`, { cause });
    }
  }

  /** @param {number | bigint} value */
  function number(value) {
    const float = typeof value === 'number' && !Number.isSafeInteger(value);
    if (float || Object.is(value, -0)) put('Float64', value, 0xcb);
    else if (value >= 0 && value < 2 ** 32) head(NATURAL, Number(value));
    else if (value >= -32 && value < 0) bytes.push(Number(value));
    else if (value >= -(2n ** 63n) && value < 2n ** 64n) {
      put('BigUint64', BigInt(value), value < 0 ? 0xd3 : 0xcf);
    } else throw new MsgpackError(`${value} does not fit in 64 bits`);
  }

  /** @param {string} value */
  function text(value) {
    if (/\p{Surrogate}/u.test(value)) throw new MsgpackError('a text has a lone surrogate');
    raw(TEXT, toUtf8.encode(value));
  }

  /** @param {number} milliseconds */
  function timestamp(milliseconds) {
    const known = milliseconds >= YEARS[0] && milliseconds <= YEARS[1];
    if (!known) throw new MsgpackError('a Date is invalid, or not in the years 1 to 9999');
    const seconds = Math.floor(milliseconds / 1000);
    put('Uint32', (milliseconds - seconds * 1000) * NANOSECONDS, 0xc7, 12, TIMESTAMP);
    put('BigInt64', BigInt(seconds));
  }

  /** @param {number[]} form @param {Uint8Array} content */
  function raw(form, content) {
    head(form, content.length);
    for (const byte of content) bytes.push(byte);
  }

  /** @param {number[]} form @param {number} number of things in the value, or the value itself */
  function head([fixed, below, first], number) {
    if (number < below) bytes.push(fixed | number);
    else put('Uint32', number, first);
  }

  /** @param {Kind} kind @param {number | bigint} value @param {number[]} before */
  function put(kind, value, ...before) {
    word[`set${kind}`](0, value);
    bytes.push(...before, ...new Uint8Array(word.buffer, 0, SIZES[kind]));
  }
}

/** @param {any} value @returns {value is { [key: string]: Value }} */
const isMap = (value) =>
  [null, Object.prototype].includes(typeof value === 'object' && Object.getPrototypeOf(value));

/**
 * Decode exactly one value. Maps become objects without a prototype; a 64-bit integer that a number
 * cannot hold exactly becomes a BigInt. @param {Uint8Array} bytes @returns {Value}
 */
export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** @param {number} count */
  const raw = (count) => bytes.subarray(skip(count), at);
  /** @param {number} length */
  const text = (length) => fromUtf8.decode(raw(length));
  let at = 0;
  try {
    const value = read(0);
    if (at === bytes.length) return value;
  } catch { /* text that is not UTF-8, or bytes that `require` did not find */ }
  throw new MsgpackError('these bytes are not one msgpack value of the kinds that are known here');

  /** @param {boolean} holds */
  function require(holds) {
    if (!holds) throw new MsgpackError();
  }

  /** @param {number} depth @returns {Value} */
  function read(depth) {
    require(depth <= MAX_DEPTH);
    const first = bytes[skip(1)];
    if (first < 0x80) return first;
    if (first < 0x90) return map(first & 15, depth);
    if (first < 0xa0) return array(first & 15, depth);
    if (first < 0xc0) return text(first & 31);
    if (first >= 0xe0) return first - 256;
    switch (first) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return raw(number(LENGTHS[first - 0xc4])).slice();
      case 0xc7: case 0xc8: case 0xc9: return timestamp(number(LENGTHS[first - 0xc7]));
      case 0xd6: case 0xd7: return timestamp(first === 0xd6 ? 4 : 8);
      case 0xd9: case 0xda: case 0xdb: return text(number(LENGTHS[first - 0xd9]));
      case 0xdc: case 0xdd: return array(number(LENGTHS[first - 0xdc + 1]), depth);
      case 0xde: case 0xdf: return map(number(LENGTHS[first - 0xde + 1]), depth);
    }
    require(first >= 0xca && first < 0xd4);
    return number(NUMBERS[first - 0xca]);
  }

  /** @param {number} length @param {number} depth */
  function array(length, depth) {
    const items = []; // grows with the input, because the stated length may be false
    while (items.length < length) items.push(read(depth + 1));
    return items;
  }

  /** @param {number} length @param {number} depth */
  function map(length, depth) {
    const entries = Object.create(null); // so that `__proto__` is a key like any other
    for (let left = length; left > 0; left -= 1) {
      const key = read(depth + 1);
      require(typeof key === 'string');
      entries[/** @type {string} */ (key)] = read(depth + 1);
    }
    return entries;
  }

  /** 4 bytes: seconds; 8 and 12 bytes: also nanoseconds. @param {number} length */
  function timestamp(length) {
    require(number('Uint8') === TIMESTAMP && [4, 8, 12].includes(length));
    const head = length > 4 ? number('Uint32') : 0;
    const low = number(length === 12 ? 'BigInt64' : 'Uint32');
    const seconds = length === 12 ? Number(low) : (head & 3) * 2 ** 32 + low;
    const nanoseconds = length === 8 ? head >>> 2 : head;
    const date = new Date(seconds * 1000 + Math.floor(nanoseconds / NANOSECONDS));
    require(nanoseconds < 1e9 && !Number.isNaN(date.getTime()));
    return date;
  }

  /** @param {Kind} kind @returns {any} a BigInt where a number is not exact */
  function number(kind) {
    const value = view[/** @type {const} */ (`get${kind}`)](skip(SIZES[kind]));
    return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  /** @param {number} count */
  function skip(count) {
    require(count <= bytes.length - at);
    at += count;
    return at - count;
  }
}
