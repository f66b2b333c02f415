/**
 * Collections of items in the order of their ids: read-only ones, and drafts that change.
 *
 * The entries are in leaves of limited size. A change copies one leaf, and the list of leaves; all
 * others are shared with the collection before it. So what a change costs, and finding what changed,
 * depends on the change, and hardly on how many items there are.
 *
 * Loaded on demand: with the first state that has collections. `state.js` freezes what it gets.
 */

/** @typedef {readonly (readonly [string, any])[]} Leaf not empty, ordered by id */

const LEAF = 64; // entries, at most
const MADE = /^[\da-f]{17}$/; // an id with 11 digits of time, in milliseconds, and 6 random ones

/** An object with the methods of a read-only Map. JSON has it as an object. */
class Items {
  /** @param {readonly Leaf[]} leaves in order, never changed in place */
  constructor(leaves) {
    this.leaves = leaves;
  }

  get size() {
    return this.leaves.reduce((sum, { length }) => sum + length, 0);
  }

  /** @param {string} id @returns {any} */
  get(id) {
    return this.#entry(id)?.[1];
  }

  /** @param {string} id */
  has(id) {
    return Boolean(this.#entry(id));
  }

  *entries() {
    for (const leaf of this.leaves) yield* leaf;
  }

  *keys() {
    for (const [id] of this) yield id;
  }

  *values() {
    for (const [, item] of this) yield item;
  }

  /** @param {(item: any, id: string, items: this) => void} act */
  forEach(act) {
    for (const [id, item] of this) act(item, id, this);
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  toJSON() {
    return Object.fromEntries(this);
  }

  /** @param {string} id */
  #entry(id) {
    return this.leaves[leafOf(this.leaves, id)]?.find(([known]) => known === id);
  }
}

export class Collection extends Items {}

export class Draft extends Items {
  /** @param {string} id @param {any} item */
  set(id, item) {
    this.#replace(id, [id, item]);
    return this;
  }

  /** @param {string} id @returns whether it was there */
  delete(id) {
    const held = this.has(id);
    if (held) this.#replace(id);
    return held;
  }

  clear() {
    this.leaves = [];
  }

  /** @param {string} id @param {Leaf} entries of it: one or none */
  #replace(id, ...entries) {
    const at = leafOf(this.leaves, id);
    const leaf = this.leaves[at] ?? [];
    const next = [...leaf.filter(([known]) => known !== id), ...entries].sort(byId);
    const half = next.length > LEAF ? LEAF / 2 : LEAF;
    const parts = [next.slice(0, half), next.slice(half)].filter(({ length }) => length > 0);
    this.leaves = [...this.leaves.slice(0, at), ...parts, ...this.leaves.slice(at + 1)];
  }
}

export const EMPTY = new Collection([]);

/** The leaf that has an id, or would have it. @param {readonly Leaf[]} leaves @param {string} id */
function leafOf(leaves, id) {
  let [low, high] = [0, leaves.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (byId(leaves[middle][0], [id]) > 0) high = middle;
    else low = middle;
  }
  return low;
}

/**
 * Compare entries by the code points of their ids; `<` would compare UTF-16 units.
 * @param {readonly [string, any?]} _ @param {readonly [string, any?]} _other
 */
function byId([one], [other]) {
  let at = 0; // where they differ, or one ends
  while (at < one.length && one[at] === other[at]) at += 1;
  return (one.codePointAt(at) ?? -1) - (other.codePointAt(at) ?? -1);
}

/** @param {Iterable<[string, any]>} entries in any order */
export function leavesOf(entries) {
  const ordered = [...entries].sort(byId);
  const leaves = [];
  while (ordered.length > 0) leaves.push(ordered.splice(-LEAF / 2));
  return leaves.reverse();
}

/**
 * The collections after a commit: those of its keys that are `<collection>/<id>`.
 * @param {Readonly<Record<string, Collection>>} collections none of them empty
 * @param {Readonly<Record<string, any>>} set @param {string[]} deleted
 */
export function commit(collections, set, deleted) {
  const draft = draftOf(collections);
  for (const [key, value] of [...Object.entries(set), ...deleted.map((key) => [key])]) {
    const slash = key.indexOf('/'); // the first: an id may have others
    if (slash < 0 || key.startsWith('$')) continue;
    const name = key.slice(0, slash);
    const items = (draft[name] ??= new Map());
    if (value === undefined) items.delete(key.slice(slash + 1));
    else items.set(key.slice(slash + 1), value);
    if (items.size === 0) delete draft[name];
  }
  return seal(draft, collections);
}

/**
 * Collections with an empty one for each name that has no items.
 * @param {string[]} names @param {Readonly<Record<string, Collection>>} collections
 */
export function withEmpty(names, collections) {
  return { ...Object.fromEntries(names.map((name) => [name, EMPTY])), ...collections };
}

/**
 * The collections that are shown, which are equal to those of the replica. They share more with the
 * states shown before, so that the next commit is compared with less.
 * @param {Readonly<Record<string, Collection>>} collections @param {Readonly<Record<string, any>>} state
 * @returns {Readonly<Record<string, Collection>>}
 */
export function adopt(collections, state) {
  return Object.fromEntries(Object.keys(collections).map((name) => [name, state[name]]));
}

/**
 * A writable copy of a state. A Map in it becomes a collection, too.
 * @param {Readonly<Record<string, any>>} state @returns {Record<string, any>}
 */
export function draftOf(state) {
  const draft = Object.create(null);
  for (const [key, held] of Object.entries(state)) {
    draft[key] = held instanceof Collection ? new Draft(held.leaves) : held;
  }
  return draft;
}

/**
 * The state that a draft became. Collections that were not changed are the same as before.
 * @param {Record<string, any>} draft @param {Readonly<Record<string, any>>} before
 * @returns {Record<string, any>}
 */
export function seal(draft, before) {
  const state = Object.create(null);
  for (const [key, held] of Object.entries(draft)) {
    const leaves = held instanceof Map ? leavesOf(held) : held instanceof Draft && held.leaves;
    if (!leaves) state[key] = held;
    else state[key] = leaves === before[key]?.leaves ? before[key] : new Collection(leaves);
  }
  return state;
}

/**
 * The value of a field, or a collection, that shares with the one before it what is equal; and the
 * ids of items that are not.
 * @param {any} before @param {any} after @param {(one: any, other: any) => boolean} equal
 * @returns {[any, string[]]}
 */
export function share(before, after, equal) {
  const [old, now] = [before, after].map((one) => (one instanceof Collection ? one : EMPTY));
  // An id in a leaf that both have is in no other leaf of either.
  const [gone, come] = [new Map(others(old, now)), new Map(others(now, old))];
  const changed = [...gone.keys()].filter((id) => !come.has(id));
  const next = new Draft(now.leaves);
  for (const [id, item] of come) {
    const known = gone.get(id);
    if (!equal(known, item)) changed.push(id);
    else if (known !== item) next.set(id, known);
  }
  if (after !== now) return [equal(before, after) ? before : after, changed];
  if (changed.length === 0) return [old, changed];
  return [next.leaves === now.leaves ? now : new Collection(next.leaves), changed];
}

/** Entries of leaves that another collection does not have. @param {Items} _ @param {Items} other */
function others({ leaves }, other) {
  const shared = new Set(other.leaves);
  return leaves.filter((leaf) => !shared.has(leaf)).flat();
}

/** A time after those in the ids of a collection; 0 if none has one. @param {Items} [collection] */
export function timeAfter(collection) {
  const newest = [...(collection?.keys() ?? [])].findLast((id) => MADE.test(id)) ?? '';
  return parseInt(newest.slice(0, 11), 16) + 1 || 0;
}
