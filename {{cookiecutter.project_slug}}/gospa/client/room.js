/** A joined room: its state, mutations and events. `gospa.d.ts` describes what is for pages. */

import { backoff } from './backoff.js';
import { Emitter } from './emitter.js';
import { frame } from './frame.js';
import { decode } from './msgpack.js';
import {
  CALL, EVENT, JOIN, JOINED, LEAVE, MEMBERS, RUN, RoomError, SEND, SNAPSHOT, WRITE, checked,
} from './protocol.js';
import { NEWEST, Requests } from './requests.js';
import { keysOf, timeAfter } from './state.js';
import { RETRY_FIRST, RETRY_LONGEST } from './times.js';
import { View } from './view.js';

/** @typedef {import('./msgpack.js').Value} Value */
/** @typedef {import('./requests.js').Request} Request */
/** @typedef {import('./state.js').State} State */
/** @typedef {{ signal?: AbortSignal }} Waiting for an answer */

const MAX_DETAILS = 1024; // bytes, the server's limit
const MAX_PENDING = 500; // requests
const LOST = ['unauthorized', 'kicked']; // errors after which a member may not see the state
const NEVER_OF_JOIN = ['rate_limited', 'unlisted']; // errors that concern no membership

/** @param {number} number @param {number} digits */
const hex = (number, digits) => number.toString(16).padStart(digits, '0');

/**
 * Emits the room's events, with the payload and the sender: `{ id, user, info }`, where `id` is a
 * `client.member` and the server vouches for `info`; null if the application sent the event. Emits
 * `$status` when `status` or `access` changes, with the new status and the error that caused it, and
 * `$state` when the state does.
 * @extends {Emitter<string>}
 */
export class Room extends Emitter {
  #client;
  #view = new View();
  #requests;
  /** @type {'read' | 'full' | null} what the server allows here; null until it is known */
  access = null;
  /** @type {Value | undefined} */ #details;
  status = 'joining'; // or 'joined', or the code of
  /** @type {RoomError | null} */ #error = null;
  /** @type {number | bigint | null} the version in the JOIN that has no answer */ #asked = null;
  /** @type {string | null} whose state it is */ #session = null;
  #made = 0; // the time in the newest id that was made here
  /** @type {ReturnType<typeof setTimeout> | undefined} to join, or send, once more */ #timer;
  #attempt = 0;
  /** @type {Room | undefined} */ #members;
  holders = 0; // calls of `Client.room` without one of `leave`

  /** @param {string} name @param {import('./client.js').Client} client */
  constructor(name, client) {
    super();
    this.name = name;
    this.#client = client;
    this.#requests = new Requests(name, client, () => this.#show());
  }

  get state() {
    return this.#view.state;
  }

  get pending() {
    return this.#requests.pending;
  }

  /** @param {(state: State, changedKeys: string[]) => void} listener */
  subscribe(listener) {
    if (this.#view.known) listener(this.state, keysOf(this.state));
    // Read when called: an earlier listener may have changed the state again.
    return this.on('$state', (keys) => listener(this.state, keys));
  }

  /**
   * @template T
   * @param {(state: State) => T} pick @param {(picked: T) => void} listener
   */
  select(pick, listener) {
    let shown = /** @type {any} */ (listener); // which equals nothing that can be picked
    return this.subscribe((state) => {
      const picked = pick(state);
      if (!Object.is(picked, shown)) listener((shown = picked));
    });
  }

  /** @param {string} action @param {import('./state.js').Optimistic} perform */
  optimistic(action, perform) {
    this.#view.optimistic[action] = perform;
    this.#show();
  }

  /** @param {string} collection */
  newId(collection) {
    const time = Math.max(this.#client.now(), timeAfter(this.state[collection]), this.#made + 1);
    this.#made = time;
    return hex(time, 11) + hex(Math.floor(Math.random() * 2 ** 24), 6);
  }

  /** @param {string} action @param {Record<string, Value>} [args] @param {Waiting} [waiting] */
  async call(action, args, waiting) {
    return this.#mutate(CALL, checked(action), { ...args }, waiting);
  }

  /** @param {string} command @param {Record<string, Value>} [args] @param {Waiting} [waiting] */
  async run(command, args, waiting) {
    const id = crypto.getRandomValues(new Uint8Array(16));
    const message = [RUN, id, this.name, checked(command), { ...args }];
    return this.#request(null, message, waiting);
  }

  /** @param {string} key @param {Value} value @param {Waiting} [waiting] */
  async set(key, value, waiting) {
    return this.#mutate(WRITE, { [key]: value }, [], waiting);
  }

  /** @param {string} key @param {Waiting} [waiting] */
  async delete(key, waiting) {
    return this.#mutate(WRITE, {}, [`${key}`], waiting);
  }

  /** @param {string} event @param {Value} [payload] */
  send(event, payload = null) {
    const bytes = this.#frame([SEND, this.name, checked(event), payload]);
    return this.status === 'joined' && this.#client.send(bytes);
  }

  /** @param {Value} [details] */
  members(details = null) {
    frame([JOIN, details], this.name, { frame_size: MAX_DETAILS });
    return (this.#members = this.#client.open(this.name + MEMBERS, details));
  }

  leave() {
    this.holders -= 1;
    if (this.holders > 0) return;
    this.#members?.leave();
    if (this.#client.forget(this)) this.#client.send(this.#frame([LEAVE, this.name]));
    this.#halt(new RoomError('left', `you left ${this.name}`, this.name));
  }

  // For the client

  /**
   * Join or rejoin, to get the commits since the replica, or the whole state. The version is the
   * newest that was shown or acknowledged here, so that the server sends no older state.
   * @param {Value} [details] shown to other members
   */
  enter(details = this.#details) {
    const { sessionId, status, why } = this.#client;
    if (sessionId !== this.#session || status === 'unauthorized') this.#forget();
    this.#session = sessionId;
    const { version, tag } = this.#view;
    const { acknowledged } = this.#requests;
    const newest = acknowledged > version ? acknowledged : version;
    const given = details === undefined ? [] : [details];
    const join = this.#frame([JOIN, this.name, newest || null, tag, ...given]);
    // Requests of an old page are kept for the one that replaces it.
    const ended = status === 'closed' || status === 'unauthorized';
    this.#halt(ended ? new RoomError(status, why, this.name) : null);
    // The next JOINED answers the oldest JOIN that has no answer.
    const asked = this.#asked ?? newest;
    this.#asked = this.#client.send(join) ? asked : null;
    this.#details = details;
  }

  /** Handle a message other than the answer to a request. @param {any[]} message */
  receive(message) {
    const [type, , event, payload, sender] = message;
    if (type === EVENT) return void this.emit(event, payload, sender);
    const { tag } = this.#view;
    this.#view.apply(message);
    if (this.#view.tag === null) {
      if (tag !== null) this.enter(); // for a snapshot; keep showing the old state
    } else if (type === JOINED) this.#join(message);
    else if (this.status === 'joined') {
      // JOIN asks whether a snapshot is only late, or the store lost what was acknowledged.
      const isState = type === SNAPSHOT; // the worker loaded the room again
      if (isState) this.#requests.doubt();
      if (isState && event < this.#requests.acknowledged) this.enter();
      else this.#show();
    }
  }

  /** @param {Request} request @param {any[]} message ACK, DONE or ERROR */
  answer(request, message) {
    if (this.#requests.answer(request, message, this.#error)) this.#attempt = 0;
    else this.#retryLater();
  }

  /** A JOIN or an event was refused, or the access was lost. @param {RoomError} error */
  refuse(error) {
    if (NEVER_OF_JOIN.includes(error.code)) return this.#client.report(error);
    const joined = this.status === 'joined';
    const lost = LOST.includes(error.code);
    if (!joined) this.#asked = null;
    if (error.code === 'unavailable') return joined || this.#retryLater(); // or it is of an event
    if (lost) this.#forget();
    if (!joined || lost) this.#halt(error);
    this.#client.report(error);
  }

  /**
   * @param {string | null} client @param {any} message that nothing else refers to
   * @param {Parameters<Requests['add']>[2]} made
   */
  add(client, message, made) {
    return this.#requests.add(client, message, made, this.status === 'joined');
  }

  /** @param {any[]} message JOINED, which comes again when the access changes */
  #join([, , , , defaults, collections, access]) {
    const again = this.status === 'joined';
    const { known } = this.#view;
    const news = !again || access !== this.access;
    this.#view.shape = { defaults, collections };
    this.status = 'joined';
    this.#error = null;
    this.access = access;
    this.#requests.include(this.#asked ?? 0);
    this.#asked = null;
    this.#attempt = 0;
    if (!again) this.#requests.send();
    this.#show(this.#view.show(this.#requests), !known);
    if (news) this.emit('$status', this.status, null);
  }

  /** Show nothing of what another session, or a member, may see. */
  #forget() {
    this.access = null;
    this.#requests.settle(NEWEST);
    this.#show(this.#view.clear());
  }

  #retryLater() {
    this.#timer ??= setTimeout(() => {
      this.#stopRetry();
      if (this.status === 'joining') this.enter();
      else this.#requests.send();
    }, backoff(this.#attempt++, RETRY_FIRST, RETRY_LONGEST));
  }

  #stopRetry() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /**
   * Stop being joined. After an error, the room is not joined again on this connection.
   * @param {RoomError | null} error
   */
  #halt(error) {
    const before = this.status;
    this.#stopRetry();
    this.#error = error;
    this.status = error?.code ?? 'joining';
    this.#requests.doubt();
    if (error) {
      this.access = null;
      this.#requests.refuse(error, LOST.includes(error.code));
    }
    if (this.status !== before) this.emit('$status', this.status, error);
  }

  /**
   * @param {number} type @param {Value} what @param {Value} more @param {Waiting} [waiting]
   * @returns {Promise<any>}
   */
  #mutate(type, what, more, waiting) {
    const message = [type, ++this.#client.lastMid, this.name, what, more];
    return this.#request(this.#client.identity, message, waiting);
  }

  /**
   * @param {string | null} client @param {any[]} message @param {Waiting} [waiting]
   * @returns {Promise<any>}
   */
  #request(client, message, waiting) {
    if (this.#error) throw this.#error;
    if (this.#requests.all.length >= MAX_PENDING) {
      throw new RoomError('overflow', 'too many changes are waiting to be sent', this.name);
    }
    const { sessionId: session } = this.#client;
    return this.add(client, decode(this.#frame(message)), { session, ...waiting });
  }

  /** @param {string[]} keys that changed @param {boolean} always emit, also without any */
  #show(keys = this.#view.show(this.#requests), always = false) {
    if (always || keys.length > 0) this.emit('$state', keys);
    this.#client.count();
  }

  /** @param {any} message */
  #frame(message) {
    return frame(message, this.name, this.#client.server);
  }
}
