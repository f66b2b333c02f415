/**
 * Values to msgpack bytes and back. Format: https://github.com/msgpack/msgpack/blob/master/spec.md
 *
 * @typedef {null | boolean | number | bigint | string | Uint8Array | Date | any[]
 *   | { [key: string]: Value }} Value
 */

const MAX_DEPTH = 64; // of what is received
const TIMESTAMP = 0xff; // -1 as a byte
const NANOSECONDS = 1_000_000; // in a millisecond, the precision of Date
const YEARS = [-62_135_596_800_000, 253_402_300_799_999]; // 1 to 9999, which Python's dates know

// How a type begins: with a small length inside its first byte, or with a first byte that tells
// that the length follows in 1, 2 or 4 bytes.
const NATURAL = { fixed: 0, below: 128, first: [0xcc, 0xcd, 0xce] };
const TEXT = { fixed: 0xa0, below: 32, first: [0xd9, 0xda, 0xdb] };
const BYTES = { fixed: 0, below: 0, first: [0xc4, 0xc5, 0xc6] };
const ARRAY = { fixed: 0x90, below: 16, first: [0, 0xdc, 0xdd] };
const MAP = { fixed: 0x80, below: 16, first: [0, 0xde, 0xdf] };
/** @typedef {typeof MAP} Form */

const toUtf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A value that msgpack cannot carry, or bytes that are not one msgpack value. */
export class MsgpackError extends Error {
  name = 'MsgpackError';
}

/**
 * @param {Value} value
 * @param {{ depth: number, values: number }} limits how deep values are nested, how many there are
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function encode(value, limits = { depth: MAX_DEPTH, values: Infinity }) {
  const writer = new Writer(limits);
  writer.value(value, 0);
  return Uint8Array.from(writer.bytes);
}

/**
 * Decode exactly one value. Maps become objects without a prototype; a 64-bit integer that a number
 * cannot hold exactly becomes a BigInt.
 *
 * @param {Uint8Array} bytes
 * @returns {Value}
 */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.left > 0) throw new MsgpackError('bytes follow the value');
  return value;
}

class Writer {
  /** @type {number[]} */ bytes = [];
  #limits;
  #values = -1; // in the outermost, which does not count
  #octets = new Uint8Array(8);
  #word = new DataView(this.#octets.buffer);

  /** @param {{ depth: number, values: number }} limits */
  constructor(limits) {
    this.#limits = limits;
  }

  /** @param {Value} value @param {number} depth */
  value(value, depth) {
    this.#values += 1;
    if (depth > this.#limits.depth) throw new MsgpackError('a value is nested too deep');
    if (this.#values > this.#limits.values) throw new MsgpackError('there are too many values');
    if (value === null) this.bytes.push(0xc0);
    else if (typeof value === 'boolean') this.bytes.push(value ? 0xc3 : 0xc2);
    else if (typeof value === 'number') this.#number(value);
    else if (typeof value === 'bigint') this.#bigint(value);
    else if (typeof value === 'string') this.#text(value);
    else if (value instanceof Uint8Array) this.#raw(BYTES, value);
    else if (value instanceof Date) this.#timestamp(value.getTime());
    else if (Array.isArray(value)) this.#array(value, depth);
    else if (typeof value === 'object') this.#map(value, depth);
    else throw new MsgpackError(`a value of type ${typeof value} cannot be encoded`);
  }

  /** @param {Value[]} items @param {number} depth */
  #array(items, depth) {
    this.#head(ARRAY, items.length);
    for (const item of items) this.value(item, depth + 1);
  }

  /** @param {{ [key: string]: Value }} value @param {number} depth */
  #map(value, depth) {
    if (![null, Object.prototype].includes(Object.getPrototypeOf(value))) {
      throw new MsgpackError('only plain objects can be encoded');
    }
    const entries = Object.entries(value);
    this.#head(MAP, entries.length);
    for (const [key, item] of entries) {
      this.#text(key);
      this.value(item, depth + 1);
    }
  }

  /** @param {number} value */
  #number(value) {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      this.#word.setFloat64(0, value);
      this.bytes.push(0xcb, ...this.#octets);
    } else if (value >= 2 ** 32 || value < -32) this.#bigint(BigInt(value));
    else if (value < 0) this.bytes.push(value);
    else this.#head(NATURAL, value);
  }

  /** @param {bigint} value */
  #bigint(value) {
    if (value >= 2n ** 64n || value < -(2n ** 63n)) {
      throw new MsgpackError(`${value} does not fit in 64 bits`);
    }
    this.#word.setBigUint64(0, value);
    this.bytes.push(value < 0n ? 0xd3 : 0xcf, ...this.#octets);
  }

  /** @param {string} value */
  #text(value) {
    if (/\p{Surrogate}/u.test(value)) {
      throw new MsgpackError('a text has a lone surrogate, which UTF-8 cannot carry');
    }
    this.#raw(TEXT, toUtf8.encode(value));
  }

  /** @param {number} milliseconds */
  #timestamp(milliseconds) {
    if (!(milliseconds >= YEARS[0] && milliseconds <= YEARS[1])) {
      throw new MsgpackError('a Date is invalid, or not in the years 1 to 9999');
    }
    const seconds = Math.floor(milliseconds / 1000);
    this.bytes.push(0xc7, 12);
    this.#uint(TIMESTAMP, 4, (milliseconds - seconds * 1000) * NANOSECONDS);
    this.#word.setBigInt64(0, BigInt(seconds));
    this.bytes.push(...this.#octets);
  }

  /** @param {Form} form @param {Uint8Array} bytes */
  #raw(form, bytes) {
    this.#head(form, bytes.length);
    for (const byte of bytes) this.bytes.push(byte);
  }

  /** @param {Form} form @param {number} length */
  #head({ fixed, below, first }, length) {
    if (length < below) this.bytes.push(fixed | length);
    else if (length < 2 ** 8 && first[0]) this.#uint(first[0], 1, length);
    else if (length < 2 ** 16) this.#uint(first[1], 2, length);
    else this.#uint(first[2], 4, length);
  }

  /** @param {number} first @param {number} size @param {number} value */
  #uint(first, size, value) {
    this.bytes.push(first);
    for (let byte = size - 1; byte >= 0; byte -= 1) this.bytes.push((value >> (8 * byte)) & 255);
  }
}

class Reader {
  #at = 0;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left() {
    return this.bytes.length - this.#at;
  }

  /** @param {number} depth @returns {Value} */
  value(depth) {
    const first = this.#uint(1);
    if (first < 0x80) return first;
    if (first < 0x90) return this.#map(first & 15, depth);
    if (first < 0xa0) return this.#array(first & 15, depth);
    if (first < 0xc0) return this.#text(first & 31);
    if (first >= 0xe0) return first - 256;
    switch (first) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return this.#raw(this.#uint(1 << (first - 0xc4))).slice();
      case 0xc7: case 0xc8: case 0xc9: return this.#extension(this.#uint(1 << (first - 0xc7)));
      case 0xca: return this.view.getFloat32(this.#skip(4));
      case 0xcb: return this.view.getFloat64(this.#skip(8));
      case 0xcc: case 0xcd: case 0xce: return this.#uint(1 << (first - 0xcc));
      case 0xcf: return exact(this.view.getBigUint64(this.#skip(8)));
      case 0xd0: return this.view.getInt8(this.#skip(1));
      case 0xd1: return this.view.getInt16(this.#skip(2));
      case 0xd2: return this.view.getInt32(this.#skip(4));
      case 0xd3: return exact(this.view.getBigInt64(this.#skip(8)));
      case 0xd6: case 0xd7: return this.#extension(1 << (first - 0xd4));
      case 0xd9: case 0xda: case 0xdb: return this.#text(this.#uint(1 << (first - 0xd9)));
      case 0xdc: case 0xdd: return this.#array(this.#uint(2 << (first - 0xdc)), depth);
      case 0xde: case 0xdf: return this.#map(this.#uint(2 << (first - 0xde)), depth);
      default: throw new MsgpackError(`0x${first.toString(16)} begins no value known here`);
    }
  }

  /** @param {number} length @param {number} depth */
  #array(length, depth) {
    this.#enter(length, depth);
    return Array.from({ length }, () => this.value(depth + 1));
  }

  /** @param {number} length @param {number} depth */
  #map(length, depth) {
    this.#enter(2 * length, depth);
    const map = Object.create(null); // so that `__proto__` is a key like any other
    for (let entry = 0; entry < length; entry += 1) {
      const key = this.value(depth + 1);
      if (typeof key !== 'string') throw new MsgpackError('a key of a map is not text');
      map[key] = this.value(depth + 1);
    }
    return map;
  }

  /** @param {number} values @param {number} depth */
  #enter(values, depth) {
    if (depth >= MAX_DEPTH) throw new MsgpackError(`nested deeper than ${MAX_DEPTH} levels`);
    // Each value takes a byte or more; nothing is allocated for a length that cannot be.
    if (values > this.left) throw new MsgpackError('the input is truncated');
  }

  /** @param {number} length */
  #text(length) {
    const bytes = this.#raw(length);
    try {
      return fromUtf8.decode(bytes);
    } catch (cause) {
      throw new MsgpackError('a text is not valid UTF-8', { cause });
    }
  }

  /** @param {number} length */
  #extension(length) {
    const type = this.#uint(1);
    if (type !== TIMESTAMP) throw new MsgpackError(`extension type ${type} is not known`);
    if (length === 4) return date(BigInt(this.#uint(4)), 0);
    if (length === 8) {
      const word = this.view.getBigUint64(this.#skip(8));
      return date(BigInt.asUintN(34, word), Number(word >> 34n));
    }
    if (length !== 12) throw new MsgpackError(`a timestamp cannot have ${length} bytes`);
    const nanoseconds = this.#uint(4);
    return date(this.view.getBigInt64(this.#skip(8)), nanoseconds);
  }

  /** @param {number} size */
  #uint(size) {
    const at = this.#skip(size);
    if (size === 1) return this.view.getUint8(at);
    return size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /** @param {number} count */
  #raw(count) {
    const at = this.#skip(count);
    return this.bytes.subarray(at, at + count);
  }

  /** @param {number} count */
  #skip(count) {
    const at = this.#at;
    if (count > this.left) throw new MsgpackError('the input is truncated');
    this.#at += count;
    return at;
  }
}

/** @param {bigint} value */
function exact(value) {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** @param {bigint} seconds @param {number} nanoseconds */
function date(seconds, nanoseconds) {
  const value = new Date(Number(seconds) * 1000 + Math.floor(nanoseconds / NANOSECONDS));
  if (nanoseconds >= 1e9 || Number.isNaN(value.getTime())) {
    throw new MsgpackError('a timestamp is out of range');
  }
  return value;
}
