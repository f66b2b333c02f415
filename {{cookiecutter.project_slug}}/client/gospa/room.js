/** One room as the page sees it: its state, changes to it, events in it. */

import { backoff } from './backoff.js';
import { Emitter } from './emitter.js';
import { MutationQueue } from './mutations.js';
import {
  FROM_CLIENT, FROM_SERVER, LIMITS, MEMBERS, RoomError, checked, frame,
} from './protocol.js';
import { Replica, changedKeys } from './replica.js';

/** @typedef {import('./msgpack.js').Value} Value */
/** @typedef {import('./replica.js').State} State */

/**
 * What the rooms of a client share.
 *
 * @typedef {object} Link
 * @property {Uint8Array} client who this page's mutations are numbered for
 * @property {Uint8Array} speaker who the connection is for: the same, or the page before a reload
 * @property {number} lastMid number of the client's last mutation
 * @property {typeof LIMITS} limits of a message, as the server has them
 * @property {(bytes: Uint8Array<ArrayBuffer>) => boolean} send false without a connection
 * @property {(error: Error) => void} report
 * @property {() => void} changed there are more or fewer mutations without an answer
 * @property {(name: string, details: Value) => Room} room
 * @property {(room: Room) => void} forget
 */

const MAX_DETAILS = 1024; // bytes, of which the server takes no more
/** @type {[number, number]} milliseconds, while the server's store is away */
const JOIN_AGAIN = [500, 5_000];

export class Room {
  #link;
  #mutations;
  #replica = new Replica();
  /** @type {State | null} */ #base = null; // what is shown without what is pending
  #view = this.#replica.state;
  #changes = new Emitter();
  #events = new Emitter();
  /** @type {Value | undefined} */ #details;
  #joined = false;
  #awaitsSnapshot = false;
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
  /** @type {RoomError | null} */ #refusal = null;

  /** @param {string} name @param {Link} link */
  constructor(name, link) {
    this.name = name;
    this.#link = link;
    this.#mutations = new MutationQueue(link);
  }

  /**
   * As the server confirmed it last, with what is pending here applied to it. Each change makes a
   * new object, frozen with all it holds.
   */
  get state() {
    return this.#view;
  }

  /** Mutations that the server has not answered yet, oldest first. */
  get pending() {
    return this.#mutations.unanswered;
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
   * Show an action's effect before the server has answered. `perform` changes a copy of the state
   * key by key: the values in it are frozen. It runs again whenever the state below it changes, and
   * its effect goes with a refusal.
   *
   * @param {string} action @param {import('./mutations.js').Optimistic} perform
   */
  optimistic(action, perform) {
    this.#mutations.optimistic[action] = perform;
    this.#show();
  }

  /**
   * Have the server run an action exactly once, however often the connection breaks meanwhile.
   *
   * @param {string} action @param {Record<string, Value>} [args]
   * @returns {Promise<any>} its result, which is null if the answer to the first try was lost;
   *   rejected with a RoomError if it is refused
   */
  async call(action, args) {
    return this.#mutate(FROM_CLIENT.CALL, checked(action), { ...args });
  }

  /** Set a key that the room lets members write. @param {string} key @param {Value} value */
  async set(key, value) {
    return this.#mutate(FROM_CLIENT.WRITE, { [key]: value }, []);
  }

  /** Delete a key that the room lets members write. @param {string} key */
  async delete(key) {
    return this.#mutate(FROM_CLIENT.WRITE, {}, [`${key}`]);
  }

  /**
   * Tell everyone who is in the room now; at most once, and not at all without a connection.
   *
   * @param {string} event @param {Value} payload @returns whether it was sent
   */
  send(event, payload) {
    const bytes = this.#frame([FROM_CLIENT.SEND, this.name, checked(event), payload]);
    return this.#joined && this.#link.send(bytes);
  }

  /**
   * The room that lists who is in this one, by `client.member` of each: `{ pid, details }`. To be
   * in it is to be listed.
   *
   * @param {Value} [details] what others are told of you; later ones replace them
   */
  members(details = null) {
    frame([FROM_CLIENT.JOIN, details], this.name, { ...this.#link.limits, bytes: MAX_DETAILS });
    return this.#link.room(this.name + MEMBERS, details);
  }

  /** What is pending is rejected with the code `left`; the server may have done it already. */
  leave() {
    this.#link.forget(this);
    this.end(new RoomError('left', `you left ${this.name}`, this.name));
  }

  // For the client

  /** @param {Value} details what the others are told */
  introduce(details) {
    this.#details = details;
    if (this.#joined) this.join();
  }

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
    this.#mutations.refuseAll(error);
    this.#answered();
  }

  /** @param {any[]} message */
  receive([type, , ...rest]) {
    if (type === FROM_SERVER.SNAPSHOT) this.#restart(rest[0], rest[1], rest[2]);
    else if (type === FROM_SERVER.PATCH) this.#follow(rest[0], rest[1], rest[2], rest[3], rest[4]);
    else if (type === FROM_SERVER.EVENT) this.#events.emit(rest[0], rest[1]);
    else if (type === FROM_SERVER.JOINED) this.#arrive(rest[1]);
  }

  /** @param {number} mid @param {number | bigint} version @param {any} result */
  acknowledge(mid, version, result) {
    if (this.#mutations.acknowledge(mid, version, result)) this.#answered();
  }

  /**
   * @param {number | null} mid null if it was a join or an event that was refused
   * @param {RoomError} error
   */
  refuse(mid, error) {
    if (mid !== null) {
      if (this.#mutations.refuse(mid, error)) this.#answered();
    } else if (this.#joined && !this.#awaitsSnapshot) this.#link.report(error);
    else if (error.code === 'unavailable') this.#joinLater();
    else {
      this.end(error);
      this.#link.report(error);
    }
  }

  /**
   * A mutation from before the page was loaded.
   *
   * @param {Uint8Array} client @param {number} mid @param {Uint8Array<ArrayBuffer>} bytes
   */
  restore(client, mid, bytes) {
    this.#mutations.add(client, mid, bytes, true).catch((error) => this.#link.report(error));
  }

  /** @param {number} version @param {Uint8Array} tag @param {State} state */
  #restart(version, tag, state) {
    this.#awaitsSnapshot = false;
    this.#replica.reset(version, tag, state);
    this.#mutations.release();
    this.#show();
  }

  /**
   * @param {number} version @param {Uint8Array} parent @param {Uint8Array} tag
   * @param {State} set @param {string[]} deleted
   */
  #follow(version, parent, tag, set, deleted) {
    if (this.#replica.apply(version, parent, tag, set, deleted)) this.#show();
    else if (!this.#awaitsSnapshot) this.#requestState(null, null);
  }

  /** @param {Uint8Array} tag */
  #arrive(tag) {
    if (!this.#replica.at(tag)) return this.#awaitsSnapshot || this.#requestState(null, null);
    this.#joined = true;
    this.#attempt = 0;
    this.#mutations.open();
    this.#answered(); // by us, where they are too large for this server
  }

  #answered() {
    this.#show();
    this.#link.changed();
  }

  /**
   * While one does not know whether a mutation was applied, the state below it stays as it was: so
   * its effect is never shown twice.
   */
  #show() {
    const { state, version } = this.#replica;
    if (version !== null && !this.#mutations.inDoubt) {
      this.#base = state;
      this.#mutations.settle(version);
    }
    if (this.#base === null) return;
    const before = this.#view;
    this.#view = this.#mutations.preview(this.#base);
    const keys = changedKeys(before, this.#view);
    if (keys.length > 0) this.#changes.emit('change', this.#view, keys);
  }

  /**
   * From a commit on; the whole, if a link is missing, and meanwhile what was true stays shown.
   *
   * @param {number | bigint | null} version @param {Uint8Array | null} tag
   */
  #requestState(version, tag) {
    this.#awaitsSnapshot = tag === null;
    const details = this.#details === undefined ? [] : [this.#details];
    this.#link.send(this.#frame([FROM_CLIENT.JOIN, this.name, version, tag, ...details]));
  }

  #joinLater() {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.join(), backoff(this.#attempt, ...JOIN_AGAIN));
    this.#attempt += 1;
  }

  /** @param {[number, ...Value[]]} message */
  #frame(message) {
    return frame(message, this.name, this.#link.limits);
  }

  /** @param {number} type @param {Value} what @param {Value} more @returns {Promise<any>} */
  #mutate(type, what, more) {
    if (this.#refusal) throw this.#refusal;
    if (this.#mutations.full) {
      throw new RoomError('overflow', 'too many changes are waiting to be sent', this.name);
    }
    const mid = this.#link.lastMid + 1;
    const bytes = this.#frame([type, mid, this.name, what, more]);
    this.#link.lastMid = mid;
    const answer = this.#mutations.add(this.#link.client, mid, bytes);
    this.#answered();
    return answer;
  }
}
