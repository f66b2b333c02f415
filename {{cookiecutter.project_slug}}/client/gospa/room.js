/** One room as the page sees it: its state, changes to it, events in it. */

import { backoff } from './backoff.js';
import { Emitter } from './emitter.js';
import { MutationQueue } from './mutations.js';
import { FROM_CLIENT, FROM_SERVER, RoomError, frame } from './protocol.js';
import { Replica } from './replica.js';

/** @typedef {import('./msgpack.js').Value} Value */
/** @typedef {import('./replica.js').State} State */

/**
 * What the rooms of a client share.
 *
 * @typedef {object} Link
 * @property {number} lastMid number of the client's last mutation
 * @property {number} frameSize the most bytes that the server takes
 * @property {(bytes: Uint8Array<ArrayBuffer>) => boolean} send false without a connection
 * @property {(error: Error) => void} report
 * @property {(room: Room) => void} forget
 */

/** @type {[number, number]} milliseconds, while the server's store is away */
const JOIN_AGAIN = [500, 5_000];

export class Room {
  #link;
  #mutations;
  #replica = new Replica();
  #changes = new Emitter();
  #events = new Emitter();
  #joined = false;
  #awaitsSnapshot = false;
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
  /** @type {RoomError | null} */ #refusal = null;
  /** @type {(() => void) | undefined} */ #resolveReady;
  /** @type {((error: RoomError) => void) | undefined} */ #rejectReady;

  /** @param {string} name @param {Link} link */
  constructor(name, link) {
    this.name = name;
    this.#link = link;
    this.#mutations = new MutationQueue(link.send);
    /** @type {Promise<void>} resolved once the room is up to date for the first time */
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.ready.catch(() => {}); // a refusal is reported too, so nobody has to look here
  }

  /** As the server confirmed it last; each change makes a new object, frozen with all it holds. */
  get state() {
    return this.#replica.state;
  }

  get version() {
    return this.#replica.version;
  }

  /**
   * @param {(state: State, changedKeys: string[]) => void} listener called at each change
   * @returns {() => void} stops listening
   */
  subscribe(listener) {
    return this.#changes.on('change', listener);
  }

  /**
   * @param {string} event @param {(payload: any) => void} listener
   * @returns {() => void} stops listening
   */
  on(event, listener) {
    return this.#events.on(event, listener);
  }

  /**
   * Have the server run an action exactly once, however often the connection breaks meanwhile.
   *
   * @param {string} action @param {Record<string, Value>} [args]
   * @returns {Promise<any>} its result, which is null if the answer to the first try was lost;
   *   rejected with a RoomError if it is refused
   */
  call(action, args = {}) {
    return this.#mutate((mid) => [FROM_CLIENT.CALL, mid, this.name, action, args]);
  }

  /** Set a key that the room lets members write. @param {string} key @param {Value} value */
  set(key, value) {
    return this.#mutate((mid) => [FROM_CLIENT.WRITE, mid, this.name, { [key]: value }, []]);
  }

  /** Delete a key that the room lets members write. @param {string} key */
  delete(key) {
    return this.#mutate((mid) => [FROM_CLIENT.WRITE, mid, this.name, {}, [key]]);
  }

  /**
   * Tell everyone who is in the room now; at most once, and not at all without a connection.
   *
   * @param {string} event @param {Value} payload @returns whether it was sent
   */
  send(event, payload) {
    const bytes = this.#frame([FROM_CLIENT.SEND, this.name, event, payload]);
    return this.#joined && this.#link.send(bytes);
  }

  /** What is pending is rejected with the code `left`; the server may have done it already. */
  leave() {
    this.#link.forget(this);
    this.end(new RoomError('left', `you left ${this.name}`, this.name));
  }

  // For the client

  /** Connected: ask for what happened since the state held here. */
  join() {
    this.#refusal = null;
    this.#requestState(this.#replica.version, this.#replica.tag);
  }

  disconnected() {
    clearTimeout(this.#retry);
    this.#joined = false;
    this.#mutations.close();
  }

  /** It will not be joined, at least not on this connection. @param {RoomError} error */
  end(error) {
    this.disconnected();
    this.#refusal = error;
    this.#rejectReady?.(error);
    this.#mutations.refuseAll(error);
  }

  /** @param {any[]} message */
  receive([type, , ...rest]) {
    if (type === FROM_SERVER.SNAPSHOT) this.#restart(rest[0], rest[1], rest[2]);
    else if (type === FROM_SERVER.PATCH) this.#follow(rest[0], rest[1], rest[2], rest[3], rest[4]);
    else if (type === FROM_SERVER.EVENT) this.#events.emit(rest[0], rest[1]);
    else if (type === FROM_SERVER.JOINED) this.#arrive(rest[1]);
  }

  /** @param {number} mid @param {any} result */
  acknowledge(mid, result) {
    this.#mutations.acknowledge(mid, result);
  }

  /**
   * @param {number | null} mid null if it was a join or an event that was refused
   * @param {RoomError} error
   */
  refuse(mid, error) {
    if (mid !== null) this.#mutations.refuse(mid, error);
    else if (this.#joined && !this.#awaitsSnapshot) this.#link.report(error);
    else if (error.code === 'unavailable') this.#joinLater();
    else {
      this.end(error);
      this.#link.report(error);
    }
  }

  /** @param {number} version @param {Uint8Array} tag @param {State} state */
  #restart(version, tag, state) {
    this.#awaitsSnapshot = false;
    this.#announce(this.#replica.reset(version, tag, state));
  }

  /**
   * @param {number} version @param {Uint8Array} parent @param {Uint8Array} tag
   * @param {State} set @param {string[]} deleted
   */
  #follow(version, parent, tag, set, deleted) {
    const keys = this.#replica.apply(version, parent, tag, set, deleted);
    if (keys) this.#announce(keys);
    else this.#requestSnapshot();
  }

  /** @param {Uint8Array} tag */
  #arrive(tag) {
    if (!this.#replica.at(tag)) return this.#requestSnapshot();
    this.#joined = true;
    this.#attempt = 0;
    this.#resolveReady?.();
    this.#mutations.open();
  }

  /** @param {string[]} keys */
  #announce(keys) {
    if (keys.length > 0) this.#changes.emit('change', this.state, keys);
  }

  /** A link is missing: ask for the whole, once, and meanwhile show what was true. */
  #requestSnapshot() {
    if (!this.#awaitsSnapshot) this.#requestState(null, null);
  }

  /** @param {number | bigint | null} version @param {Uint8Array | null} tag */
  #requestState(version, tag) {
    this.#awaitsSnapshot = tag === null;
    this.#link.send(this.#frame([FROM_CLIENT.JOIN, this.name, version, tag]));
  }

  #joinLater() {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.join(), backoff(this.#attempt, ...JOIN_AGAIN));
    this.#attempt += 1;
  }

  /** @param {[number, ...Value[]]} message */
  #frame(message) {
    return frame(message, this.name, this.#link.frameSize);
  }

  /** @param {(mid: number) => [number, ...Value[]]} build @returns {Promise<any>} */
  async #mutate(build) {
    if (this.#refusal) throw this.#refusal;
    if (this.#mutations.full) {
      throw new RoomError('overflow', 'too many changes are waiting to be sent', this.name);
    }
    const mid = this.#link.lastMid + 1;
    const bytes = this.#frame(build(mid));
    this.#link.lastMid = mid;
    return this.#mutations.add(mid, bytes);
  }
}
