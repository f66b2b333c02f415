/** A room's requests: mutations, which the server applies in order, and commands. */

import { frame } from './frame.js';
import { ACK, ERROR, RoomError, WRITE } from './protocol.js';

/**
 * @typedef {object} Request
 * @property {string | null} client the client id that its number belongs to; null for a command
 * @property {string | null} session the session it was made in; null before the first connection
 * @property {any[]} message a CALL or WRITE with its mutation number, or a RUN with its id
 * @property {object | null} sentOver the connection that owes an answer, as `Client.server`
 * @property {boolean} outcomeUnknown it may have been applied, and its answer was lost
 * @property {boolean} hidden the base may contain it
 * @property {number | bigint} version of its commit, Infinity until it is acknowledged
 * @property {string} stack of the caller
 * @property {(result: any) => void} resolve
 * @property {(error: unknown) => void} reject
 */

export const NEWEST = Number.MAX_VALUE; // a version above all
const AGAIN = ['unavailable', 'busy']; // errors after which a request is sent again

export class Requests {
  /** @type {Request[]} whose effects are not in the base, oldest first */ all = [];
  #room;
  #client;
  #changed;

  /**
   * @param {string} room its name @param {import('./client.js').Client} client
   * @param {() => void} changed called when requests were added or removed
   */
  constructor(room, client, changed) {
    this.#room = room;
    this.#client = client;
    this.#changed = changed;
  }

  /** Requests without an answer. */
  get pending() {
    return this.all.filter(({ version }) => version === Infinity);
  }

  /**
   * Whether a state may or may not contain a mutation. This is also so for one whose repeat was
   * acknowledged, since that names the version of the client's last commit.
   * @param {number | bigint} state its version
   */
  inDoubt(state) {
    return this.all.some(({ client, outcomeUnknown, version }) => {
      return client !== null && outcomeUnknown && version > state;
    });
  }

  /** The newest version that was acknowledged, and may not be in the state yet; 0 for none. */
  get acknowledged() {
    /** @type {number | bigint} */ let newest = 0;
    for (const { version } of this.all) if (version < Infinity && version > newest) newest = version;
    return newest;
  }

  /**
   * @param {string | null} client @param {any[]} message
   * @param {{ session: string | null, outcomeUnknown?: boolean, signal?: AbortSignal }} made
   *   `outcomeUnknown`: it may have been sent before; `signal`: stops waiting, and sending
   * @param {boolean} joined
   * @returns {Promise<any>}
   */
  add(client, message, { session, outcomeUnknown = false, signal }, joined) {
    const stack = /** @type {string} */ (new Error().stack);
    /** @type {() => void} */ let stop;
    return new Promise((resolve, reject) => {
      /** @type {Request} */ const request = {
        client, session, message, outcomeUnknown, stack, resolve, reject,
        hidden: false, sentOver: null, version: Infinity,
      };
      stop = () => {
        // What may have been applied is shown, and asked for, until that is known.
        if (request.sentOver || request.outcomeUnknown) reject(signal?.reason);
        else this.reject(signal?.reason, [request]);
      };
      signal?.throwIfAborted();
      signal?.addEventListener('abort', stop);
      const sendNow = joined && (client === null || this.#isSent);
      this.all.push(request);
      if (sendNow) this.#send(request);
      this.#changed();
    }).finally(() => signal?.removeEventListener('abort', stop)); // it may be that of many requests
  }

  /**
   * Whether all mutations were sent over this connection. A later one must wait for those that were
   * not: the server would take the lower numbers for repeats, and would not apply them.
   */
  get #isSent() {
    const { server } = this.#client;
    return this.pending.every(({ client, sentOver }) => client === null || sentOver === server);
  }

  /** Send what has no answer, in order. */
  send() {
    this.pending.forEach((request) => this.#send(request));
  }

  /** Those whose effects the base surely lacks. */
  get effects() {
    return this.all.filter(({ hidden }) => !hidden);
  }

  /** The answers that are owed may be lost, or come after a state that contains their effects. */
  doubt() {
    for (const request of this.pending) request.outcomeUnknown ||= request.sentOver !== null;
  }

  /**
   * @param {Request} request @param {any[]} message ACK, DONE or ERROR
   * @param {RoomError | null} why the room is not joined, if it is not
   * @returns whether it is final; else the request has to be sent again
   */
  answer(request, [type, , second, third], why) {
    if (type === ERROR && AGAIN.includes(second)) {
      request.outcomeUnknown ||= second === 'unavailable';
      request.sentOver = null;
      return false;
    }
    if (type === ERROR) {
      const unjoined = second === 'not_joined' && why;
      this.reject(unjoined || this.#refusal(request, second, third), [request]);
    } else {
      const [version, result] = type === ACK ? [second, third] : [0, second];
      request.version = version;
      request.resolve(result);
      if (why) this.settle(NEWEST); // no state will come
      this.#changed();
    }
    return true;
  }

  /** @param {unknown} error @param {Request[]} requests */
  reject(error, requests = this.pending) {
    this.all = this.all.filter((request) => !requests.includes(request));
    for (const { reject } of requests) reject(error);
    this.#changed();
  }

  /**
   * Reject what waits. If access was `lost`, the server is first asked about what it may have
   * applied before; it answers that to clients without access, too.
   * @param {RoomError} error @param {boolean} lost
   */
  refuse(error, lost) {
    const ask = lost && this.#client.status === 'online';
    const asked = this.pending.filter((each) => ask && each.client && each.outcomeUnknown);
    this.reject(error, this.pending.filter((each) => !asked.includes(each)));
    // What was sent over this connection is answered at any rate.
    for (const each of asked) if (each.sentOver !== this.#client.server) this.#send(each);
  }

  /**
   * The replica has these commits, or the store lost them: the next base replaces their effects.
   * @param {number | bigint} version the newest of them
   */
  include(version) {
    for (const each of this.all) if (each.version <= version) each.version = 0;
  }

  /** Remove what a new base contains, and hide what it may. @param {number | bigint} version */
  settle(version) {
    this.all = this.all.filter((each) => each.version > version);
    for (const each of this.all) each.hidden ||= each.outcomeUnknown;
  }

  /**
   * An error that names the action or command, and where it was called.
   * @param {Request} request @param {string} code @param {string} message
   */
  #refusal({ message: [type, , , what], stack }, code, message) {
    const error = new RoomError(code, message, this.#room, type === WRITE ? null : what);
    error.stack = stack.replace(/^Error/, `${error}`);
    return error;
  }

  /** @param {Request} request */
  #send(request) {
    const { server, sessionId, speaker } = this.#client;
    // A mutation needs a connection of its client; a command must not run twice at a time.
    const isCommand = request.client === null;
    if (isCommand ? request.sentOver === server : request.client !== speaker) return;
    if (!request.outcomeUnknown) request.session ??= sessionId; // else an earlier page never knew
    if (request.session !== sessionId) {
      const message = 'it was made in another session';
      return this.reject(this.#refusal(request, 'other_session', message), [request]);
    }
    try {
      if (this.#client.send(frame(request.message, this.#room, server))) request.sentOver = server;
    } catch (error) {
      this.reject(error, [request]); // too large for this server
    }
  }
}
