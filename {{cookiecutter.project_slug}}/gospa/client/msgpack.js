/**
 * Values to msgpack bytes and back. Format: https://github.com/msgpack/msgpack/blob/master/spec.md
 *
 * @typedef {null | boolean | number | bigint | string | Uint8Array | Date | any[]
 *   | { [key: string]: Value }} Value
 */

const MAX_DEPTH = 64; // of received values
const TIMESTAMP = 0xff; // -1 as a byte
const NANOSECONDS = 1_000_000; // in a millisecond, the precision of Date

// First bytes of numbers
const FLOAT32 = 0xca;
const FLOAT64 = 0xcb;
const UINT8 = 0xcc;
const UINT32 = 0xce;
const UINT64 = 0xcf;
const INT64 = 0xd3;

// The kinds of numbers as DataView names them, in the order of their first bytes
const KINDS = [
  'Float32', 'Float64', 'Uint8', 'Uint16', 'Uint32', 'BigUint64', 'Int8', 'Int16', 'Int32', 'BigInt64',
];

/** The kind of a number, after its first byte. @param {number} first @returns {any} */
const kindOf = (first) => KINDS[first - FLOAT32];

/** Its size, 1, 2, 4 or 8 bytes: the last bits of the first byte say it. @param {number} first */
const sizeOf = (first) => 1 << (first & 3);

const toUtf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A value that msgpack cannot carry, or bytes that are not one msgpack value. */
export class MsgpackError extends Error {
  name = 'MsgpackError';
}

/** @param {unknown} what @returns {never} */
function refuse(what) {
  throw new MsgpackError(`${what} cannot be encoded`);
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
    else if (value instanceof Uint8Array) raw(0, 0, 0xc6, value);
    else if (value instanceof Date) timestamp(value);
    else if (Array.isArray(value)) {
      head(0x90, 16, 0xdd, value.length);
      for (const item of value) write(item, depth + 1);
    } else if (isMap(value)) map(Object.entries(value), depth);
    else refuse(Object.prototype.toString.call(value));
  }

  /** @param {[string, Value][]} entries @param {number} depth */
  function map(entries, depth) {
    head(0x80, 16, 0xdf, entries.length);
    for (const [key, item] of entries) {
      text(key);
      try {
        write(item, depth + 1);
      } catch (error) {
        throw new MsgpackError(`${key}: ${/** @type {Error} */ (error).message}`);
      }
    }
  }

  /** @param {number | bigint} value */
  function number(value) {
    const float = typeof value === 'number' && !Number.isSafeInteger(value);
    if (float || Object.is(value, -0)) put(FLOAT64, value, FLOAT64);
    else if (value < -(2 ** 63) || value >= 2 ** 64) refuse(value);
    else if (value < -32) put(INT64, BigInt(value), INT64);
    else if (value < 128) bytes.push(Number(value)); // as a byte also if it is negative
    else if (value < 2 ** 32) put(UINT32, Number(value), UINT32);
    else put(UINT64, BigInt(value), UINT64);
  }

  /** @param {string} value */
  function text(value) {
    if (/\p{Surrogate}/u.test(value)) refuse('a text with a lone surrogate');
    raw(0xa0, 32, 0xdb, toUtf8.encode(value));
  }

  /** @param {Date} date */
  function timestamp(date) {
    const year = date.getUTCFullYear();
    if (!(year > 0 && year < 10_000)) refuse(date); // it is invalid, or Python has none
    put(UINT32, date.getUTCMilliseconds() * NANOSECONDS, 0xc7, 12, TIMESTAMP);
    put(INT64, BigInt(Math.floor(Number(date) / 1000)));
  }

  /**
   * @param {number} fixed @param {number} below @param {number} first see `head`
   * @param {Uint8Array} content
   */
  function raw(fixed, below, first, content) {
    head(fixed, below, first, content.length);
    for (const byte of content) bytes.push(byte);
  }

  /**
   * How a value begins: its length in the bits of the byte `fixed`, if it is below a limit; else as
   * 32 bits after the byte `first`.
   * @param {number} fixed @param {number} below @param {number} first @param {number} length
   */
  function head(fixed, below, first, length) {
    if (length < below) bytes.push(fixed | length);
    else put(UINT32, length, first);
  }

  /** @param {number} kind by its first byte @param {number | bigint} value @param {number[]} before */
  function put(kind, value, ...before) {
    word[`set${kindOf(kind)}`](0, value);
    bytes.push(...before, ...new Uint8Array(word.buffer, 0, sizeOf(kind)));
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
  /** @type {any} */ const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  try {
    const value = read(0);
    if (at === bytes.length) return value;
  } catch { /* text that is not UTF-8, or bytes that `require` did not find */ }
  throw new MsgpackError('the bytes are not one msgpack value');

  /** @param {boolean} holds */
  function require(holds) {
    if (!holds) throw new MsgpackError();
  }

  /** @param {number} depth @returns {Value} */
  function read(depth) {
    require(depth <= MAX_DEPTH);
    const first = bytes[skip(1)];
    /** The length that follows: of 1, 2 or 4 bytes. @param {number} base first byte of those with 1 */
    const length = (base) => number(first - base + UINT8);
    if (first < 0x80) return first;
    if (first < 0x90) return map(first & 15, depth);
    if (first < 0xa0) return array(first & 15, depth);
    if (first < 0xc0) return text(first & 31);
    if (first < 0xc1) return null;
    require(first > 0xc1);
    if (first < 0xc4) return first > 0xc2;
    if (first < 0xc7) return bytes.slice(skip(length(0xc4)), at);
    if (first < 0xca) return timestamp(length(0xc7));
    if (first < 0xd4) return number(first);
    if (first < 0xd9) return timestamp(sizeOf(first));
    if (first < 0xdc) return text(length(0xd9));
    if (first < 0xde) return array(length(0xdb), depth);
    if (first < 0xe0) return map(length(0xdd), depth);
    return first - 256;
  }

  /** @param {number} length */
  function text(length) {
    return fromUtf8.decode(bytes.subarray(skip(length), at));
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
    require(number(UINT8) === TIMESTAMP && [4, 8, 12].includes(length));
    const head = length > 4 ? number(UINT32) : 0;
    const low = number(length > 8 ? INT64 : UINT32);
    const seconds = length > 8 ? Number(low) : (head & 3) * 2 ** 32 + low;
    const nanoseconds = length === 8 ? head >>> 2 : head;
    const date = new Date(seconds * 1000 + Math.floor(nanoseconds / NANOSECONDS));
    require(nanoseconds < 1e9 && !Number.isNaN(date.getTime()));
    return date;
  }

  /** @param {number} kind by its first byte @returns {any} a BigInt where a number is not exact */
  function number(kind) {
    const value = view[`get${kindOf(kind)}`](skip(sizeOf(kind)));
    return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  /** @param {number} count */
  function skip(count) {
    require(count <= bytes.length - at);
    at += count;
    return at - count;
  }
}
