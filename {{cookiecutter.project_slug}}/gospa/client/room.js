/** A joined room: its state, mutations and events. */

import { backoff } from './backoff.js';
import { Emitter } from './emitter.js';
import { decode } from './msgpack.js';
import { FROM_CLIENT, FROM_SERVER, MEMBERS, RoomError, checked, frame } from './protocol.js';
import { UNKNOWN, applyMessage, changedKeys, rebase, withDefaults } from './state.js';

/** @typedef {import('./msgpack.js').Value} Value */
/** @typedef {import('./state.js').State} State */
/** @typedef {import('./state.js').Mutation} Mutation */
/** @typedef {import('./state.js').Optimistic} Optimistic */

const MAX_PENDING = 500; // mutations
const MAX_DETAILS = 1024; // bytes, the server's limit
/** @type {[number, number]} milliseconds, while the server's store is unavailable */
const RETRY = [300, 5_000];

/**
 * Emits the room's events, with the payload and the sender's `client.member`.
 * @extends {Emitter<string>}
 */
export class Room extends Emitter {
  #client;
  #replica = UNKNOWN;
  #defaults = UNKNOWN.state;
  /** @type {State | null} the state without the effects of mutations; null until it is known */
  #base = null;
  /**
   * The confirmed state with the effects of pending mutations. Each change makes a new object,
   * deeply frozen.
   */
  state = UNKNOWN.state;
  /** @type {Mutation[]} whose effects are not in the base */ #mutations = [];
  /** @type {Record<string, Optimistic>} */ #optimistic = Object.create(null);
  #changes = new Emitter();
  /** @type {Value | undefined} */ #details;
  /** @type {'awaited' | 'joined' | RoomError} */ #membership = 'awaited';
  /** @type {string | null} whose state it is */ #session = null;
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;

  /** @param {string} name @param {import('./client.js').Client} client */
  constructor(name, client) {
    super();
    this.name = name;
    this.#client = client;
  }

  /** Mutations without an answer, oldest first. */
  get pending() {
    return this.#mutations.filter(({ version }) => version === null);
  }

  /**
   * @param {(state: State, changedKeys: string[]) => void} listener called at each change
   * @returns stops listening
   */
  subscribe(listener) {
    // Read when called: an earlier listener may have changed the state again.
    return this.#changes.on('change', (keys) => listener(this.state, keys));
  }

  /**
   * Show an action's effect before the server has answered. `perform` changes a copy of the state
   * key by key: the values in it are frozen. It runs again whenever the confirmed state changes. If
   * the action is refused, its effect is removed.
   * @param {string} action @param {Optimistic} perform
   */
  optimistic(action, perform) {
    this.#optimistic[action] = perform;
    this.#show();
  }

  /**
   * Call an action, which the server runs exactly once, however often the connection breaks.
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
   * Send an event to all current members, at most once, and never while disconnected.
   * @param {string} event @param {Value} [payload] @returns whether it was sent
   */
  send(event, payload = null) {
    const bytes = this.#frame([FROM_CLIENT.SEND, this.name, checked(event), payload]);
    return this.#membership === 'joined' && this.#client.send(bytes);
  }

  /**
   * The room whose state lists this room's members: `{ pid, details }` by `client.member`. Joining
   * it lists this page.
   * @param {Value} [details] shown to other members; later ones replace them
   */
  members(details = null) {
    frame([FROM_CLIENT.JOIN, details], this.name, { frame_size: MAX_DETAILS });
    return this.#client.room(this.name + MEMBERS, details);
  }

  /** Leave. Pending mutations are rejected as `left`; the server may have applied them. */
  leave() {
    if (this.#client.forget(this)) this.#client.send(this.#frame([FROM_CLIENT.LEAVE, this.name]));
    this.#halt(new RoomError('left', `you left ${this.name}`, this.name));
  }

  // For the client

  /**
   * Join or rejoin, to get the commits since the replica, or the whole state. The version is the
   * newest that was shown or acknowledged here, so that the server sends no older state.
   * @param {Value} [details] shown to other members
   */
  enter(details = this.#details) {
    const session = this.#client.session?.id ?? null;
    if (session !== this.#session) this.#forget(session);
    const { version, tag } = this.#replica;
    const given = details === undefined ? [] : [details];
    const acknowledged = this.#mutations.map((each) => each.version ?? 0);
    const newest = acknowledged.reduce((most, one) => (one > most ? one : most), version ?? 0);
    const join = this.#frame([FROM_CLIENT.JOIN, this.name, newest || null, tag, ...given]);
    const { status, why } = this.#client;
    this.#halt(why ? new RoomError(status, why, this.name) : 'awaited');
    this.#client.send(join);
    this.#details = details;
  }

  /** Handle a message other than the answer to a mutation. @param {any[]} message */
  receive(message) {
    const [type, , event, payload, sender] = message;
    const awaited = this.#membership === 'awaited';
    const { tag } = this.#replica;
    this.#replica = applyMessage(this.#replica, message);
    if (type === FROM_SERVER.EVENT) this.emit(event, payload, sender);
    else if (this.#replica.tag !== null) {
      // A snapshot may be of another chain; it contains every acknowledged mutation.
      if (type === FROM_SERVER.SNAPSHOT) for (const each of this.#mutations) each.version &&= 0;
      if (type === FROM_SERVER.JOINED) {
        this.#defaults = sender;
        this.#membership = 'joined';
        this.#attempt = 0;
        this.pending.forEach((each) => this.#send(each));
      }
      // JOINED follows at once, and has the defaults without which the state is not complete.
      if (!awaited || type === FROM_SERVER.JOINED) this.#show();
    } else if (tag !== null) this.enter(); // join again for a snapshot; keep showing the old state
  }

  /** @param {Mutation} mutation @param {any[]} message ACK or ERROR */
  answer(mutation, [type, , second, third]) {
    if (type === FROM_SERVER.ERROR && second === 'unavailable') {
      mutation.outcomeUnknown = true;
      return this.#later();
    }
    this.#attempt = 0;
    if (type === FROM_SERVER.ACK) {
      Object.assign(mutation, { version: second, outcomeUnknown: false }).resolve(third);
      this.#show();
    } else this.#reject([mutation], new RoomError(second, third, this.name));
  }

  /** A JOIN or an event was refused, or the page was removed. @param {RoomError} error */
  refuse(error) {
    const joined = this.#membership === 'joined';
    if (!joined && error.code === 'unavailable') return this.#later();
    if (!joined || error.code === 'kicked') this.#halt(error);
    this.#client.report(error);
  }

  /**
   * @param {string} client @param {any} message a CALL or WRITE that nothing else refers to
   * @param {string | null} session @param {boolean} outcomeUnknown it may have been sent before
   * @returns {Promise<any>}
   */
  add(client, message, session = this.#client.session?.id ?? null, outcomeUnknown = false) {
    return new Promise((resolve, reject) => {
      const mutation = {
        client, session, message, sent: false, outcomeUnknown, version: null, resolve, reject,
      };
      this.#mutations.push(mutation);
      // The server refuses a mutation while an earlier one has to be repeated.
      if (this.#membership === 'joined' && !this.#retry) this.#send(mutation);
      this.#show();
    });
  }

  /** Show nothing of what another session may see. @param {string | null} session */
  #forget(session) {
    const keys = this.#session === null ? [] : Object.keys(this.state);
    this.#session = session;
    if (keys.length === 0) return;
    this.#replica = UNKNOWN;
    this.#defaults = this.state = UNKNOWN.state;
    this.#base = null;
    this.#mutations = this.pending;
    this.#changes.emit('change', keys);
  }

  /**
   * Stop being joined. After an error, the room is not joined again on this connection.
   * @param {'awaited' | RoomError} membership
   */
  #halt(membership) {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#membership = membership;
    for (const mutation of this.pending) mutation.outcomeUnknown ||= mutation.sent;
    if (membership instanceof RoomError) this.#reject(this.pending, membership);
  }

  /** Retry after a delay, because the server's store was unavailable. */
  #later() {
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      if (this.#membership === 'joined') this.pending.forEach((each) => this.#send(each));
      else this.enter();
    }, backoff(this.#attempt++, ...RETRY));
  }

  /** @param {number} type @param {Value} what @param {Value} more @returns {Promise<any>} */
  #mutate(type, what, more) {
    if (this.#membership instanceof RoomError) throw this.#membership;
    const full = this.#mutations.length >= MAX_PENDING;
    if (full) throw new RoomError('overflow', 'too many changes are waiting to be sent', this.name);
    this.#client.lastMid += 1;
    const bytes = this.#frame([type, this.#client.lastMid, this.name, what, more]);
    return this.add(this.#client.identity, decode(bytes));
  }

  /** @param {Mutation} mutation */
  #send(mutation) {
    if (mutation.client !== this.#client.speaker) return; // it needs a connection of that client
    const session = this.#client.session?.id ?? null;
    if (!mutation.outcomeUnknown) mutation.session ??= session; // else an earlier page never knew
    if (mutation.session !== session) {
      const error = new RoomError('other_session', 'it was made in another session', this.name);
      return this.#reject([mutation], error);
    }
    try {
      mutation.sent = this.#client.send(this.#frame(mutation.message)) || mutation.sent;
    } catch (error) {
      this.#reject([mutation], error); // too large for this server
    }
  }

  /** @param {Mutation[]} mutations @param {unknown} error */
  #reject(mutations, error) {
    this.#mutations = this.#mutations.filter((mutation) => !mutations.includes(mutation));
    for (const { reject } of mutations) reject(error);
    this.#show();
  }

  /**
   * While a mutation's outcome is unknown, keep the old base, so that its effect is never shown
   * twice.
   */
  #show() {
    const before = this.state;
    const { state, version } = this.#replica;
    if (version !== null && !this.#mutations.some(({ outcomeUnknown }) => outcomeUnknown)) {
      this.#base = withDefaults(this.#defaults, state);
      this.#mutations = this.#mutations.filter((each) => (each.version ?? Infinity) > version);
    }
    if (this.#base) this.state = rebase(this.#base, this.#mutations, this.#optimistic);
    const keys = changedKeys(before, this.state);
    if (keys.length > 0) this.#changes.emit('change', keys);
    this.#client.count();
  }

  /** @param {any} message */
  #frame(message) {
    return frame(message, this.name, this.#client.server);
  }
}
