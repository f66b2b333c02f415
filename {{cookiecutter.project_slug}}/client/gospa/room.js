/** One room as the page sees it: its state, changes to it, events in it. */

import { backoff } from './backoff.js';
import { Emitter } from './emitter.js';
import { decode } from './msgpack.js';
import { Mutations } from './mutations.js';
import { FROM_CLIENT, FROM_SERVER, MEMBERS, RoomError, checked, frame } from './protocol.js';
import { Replica, changedKeys } from './replica.js';

/** @typedef {import('./msgpack.js').Value} Value */
/** @typedef {import('./replica.js').State} State */

const MAX_PENDING = 500; // mutations
const MAX_DETAILS = 1024; // bytes, of which the server takes no more
/** @type {[number, number]} milliseconds, while the server's store is away */
const RETRY = [300, 5_000];

export class Room {
  #client;
  #replica = new Replica();
  /**
   * As the server confirmed it last, with what is pending here applied to it. Each change makes a
   * new object, frozen with all it holds.
   */
  state = this.#replica.state;
  #mutations = new Mutations();
  #changes = new Emitter();
  #events = new Emitter();
  #details;
  #joined = false;
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
  /** @type {RoomError | null} */ #refusal = null;

  /** @param {string} name @param {import('./client.js').Client} client @param {Value} [details] */
  constructor(name, client, details) {
    this.name = name;
    this.#client = client;
    this.#details = details;
  }

  /** Mutations that the server has not answered yet, oldest first. */
  get pending() {
    return this.#mutations.unanswered;
  }

  /**
   * @param {(state: State, changedKeys: string[]) => void} listener called at each change
   * @returns stops listening
   */
  subscribe(listener) {
    return this.#changes.on('change', listener);
  }

  /**
   * @param {string} event @returns stops listening
   * @param {(payload: any, sender: string) => void} listener told by which `client.member`
   */
  on(event, listener) {
    return this.#events.on(event, listener);
  }

  /**
   * Show an action's effect before the server has answered. `perform` changes a copy of the state
   * key by key: the values in it are frozen. It runs again whenever the state below it changes, and
   * its effect goes with a refusal.
   * @param {string} action @param {import('./mutations.js').Optimistic} perform
   */
  optimistic(action, perform) {
    this.#mutations.optimistic[action] = perform;
    this.#show();
  }

  /**
   * Have the server run an action exactly once, however often the connection breaks meanwhile.
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
   * @param {string} event @param {Value} payload @returns whether it was sent
   */
  send(event, payload) {
    const bytes = this.#frame([FROM_CLIENT.SEND, this.name, checked(event), payload]);
    return this.#joined && this.#client.send(bytes);
  }

  /**
   * The room that lists who is in this one, by `client.member` of each: `{ pid, details }`. To be
   * in it is to be listed.
   * @param {Value} [details] what others are told of you; later ones replace them
   */
  members(details = null) {
    frame([FROM_CLIENT.JOIN, details], this.name, { frame_size: MAX_DETAILS });
    return this.#client.room(this.name + MEMBERS, details);
  }

  /** What is pending is rejected with the code `left`; the server may have done it already. */
  leave() {
    this.#client.forget(this);
    this.#end(new RoomError('left', `you left ${this.name}`, this.name));
  }

  // For the client

  /** @param {Value} details what the others are told */
  introduce(details) {
    this.#details = details;
    if (this.#joined) this.#join();
  }

  /** The connection changed. @param {import('./socket.js').Status} status @param {string} why */
  follow(status, why) {
    if (status === 'online') this.#join();
    else if (status === 'connecting' || status === 'offline') this.#disconnected();
    else this.#end(new RoomError(status, why, this.name));
  }

  /** What is no answer. @param {any[]} message */
  receive(message) {
    const [type, , event, payload, sender] = message;
    const { tag } = this.#replica;
    if (type === FROM_SERVER.EVENT) this.#events.emit(event, payload, sender);
    else if (this.#replica.follow(message)) {
      if (type === FROM_SERVER.SNAPSHOT) this.#mutations.release();
      if (type === FROM_SERVER.JOINED) {
        this.#joined = true;
        this.#refusal = null;
        this.#attempt = 0;
        this.#send();
      }
      this.#show();
    } else if (tag !== null) this.#join(); // for the whole, once; what was true stays shown
  }

  /** ACK or ERROR of a mutation, if it is one of this room's. @param {any[]} message */
  answer([type, mid, second, third]) {
    const mutation = this.pending.find(
      ({ client, message }) => client === this.#client.speaker && message[1] === mid,
    );
    if (!mutation) return;
    if (type === FROM_SERVER.ERROR && second === 'unavailable') {
      mutation.inDoubt = true;
      return this.#later();
    }
    this.#attempt = 0;
    if (type === FROM_SERVER.ACK) {
      Object.assign(mutation, { version: second, inDoubt: false }).resolve(third);
    } else this.#mutations.reject([mutation], new RoomError(second, third, this.name));
    this.#show();
  }

  /** A join or an event was refused. @param {RoomError} error */
  refuse(error) {
    const entered = this.#joined && this.#replica.tag !== null;
    if (!entered && error.code === 'unavailable') return this.#later();
    if (!entered) this.#end(error);
    this.#client.report(error);
  }

  /**
   * @param {string} client @param {any} message a CALL or WRITE that nobody else has hands on
   * @param {boolean} inDoubt whether it may have been sent before
   * @returns {Promise<any>}
   */
  add(client, message, inDoubt = false) {
    return new Promise((resolve, reject) => {
      const mutation = { client, message, sent: false, inDoubt, version: null, resolve, reject };
      this.#mutations.pending.push(mutation);
      if (this.#joined && !this.#retry) this.#send([mutation]);
      this.#show();
    });
  }

  /** Ask for what happened since the state held here, or for the whole. */
  #join() {
    this.#refusal = null;
    const { version, tag } = this.#replica;
    const details = this.#details === undefined ? [] : [this.#details];
    this.#client.send(this.#frame([FROM_CLIENT.JOIN, this.name, tag && version, tag, ...details]));
  }

  #disconnected() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#joined = false;
    for (const mutation of this.pending) mutation.inDoubt ||= mutation.sent;
  }

  /** It will not be joined, at least not on this connection. @param {RoomError} error */
  #end(error) {
    this.#disconnected();
    this.#refusal = error;
    this.#mutations.reject(this.pending, error);
    this.#show();
  }

  /** Try again what the server could not do without its store. */
  #later() {
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      if (this.#joined && this.#replica.tag !== null) this.#send();
      else this.#join();
    }, backoff(this.#attempt++, ...RETRY));
  }

  /** @param {number} type @param {Value} what @param {Value} more @returns {Promise<any>} */
  #mutate(type, what, more) {
    if (this.#refusal) throw this.#refusal;
    if (this.#mutations.pending.length >= MAX_PENDING) {
      throw new RoomError('overflow', 'too many changes are waiting to be sent', this.name);
    }
    this.#client.lastMid += 1;
    const bytes = this.#frame([type, this.#client.lastMid, this.name, what, more]);
    return this.add(this.#client.identity, decode(bytes));
  }

  /** In order: the server lets none pass one that it put off. */
  #send(mutations = this.pending) {
    for (const mutation of mutations) {
      if (mutation.client !== this.#client.speaker) continue; // its numbers need its own connection
      try {
        mutation.sent = this.#client.send(this.#frame(mutation.message)) || mutation.sent;
      } catch (error) {
        this.#mutations.reject([mutation], error); // it is too large for this server
      }
    }
  }

  #show() {
    const before = this.state;
    this.state = this.#mutations.preview(this.#replica) ?? before;
    const keys = changedKeys(before, this.state);
    if (keys.length > 0) this.#changes.emit('change', this.state, keys);
    this.#client.count();
  }

  /** @param {any} message */
  #frame(message) {
    return frame(message, this.name, this.#client.server);
  }
}
