/** A room's mutations, and what is shown: its confirmed state with their effects on it. */

import { FROM_CLIENT } from './protocol.js';
import { freeze } from './replica.js';

/** @typedef {import('./replica.js').State} State */
/** @typedef {(state: Record<string, any>, args: any) => void} Optimistic */

/**
 * @typedef {object} Mutation
 * @property {string} client whose mutation it is
 * @property {any[]} message a CALL or WRITE, with its number among the mutations of the client
 * @property {boolean} sent
 * @property {boolean} inDoubt it may have been applied without our hearing of it
 * @property {number | bigint | null} version of its commit, once it is acknowledged
 * @property {(result: any) => void} resolve
 * @property {(error: unknown) => void} reject
 */

export class Mutations {
  /** @type {Record<string, Optimistic>} what actions will do, as far as the page can tell */
  optimistic = Object.create(null);
  /** @type {Mutation[]} */ pending = [];
  /** @type {State | null} */ #ground = null;

  get unanswered() {
    return this.pending.filter(({ version }) => version === null);
  }

  /** @param {Mutation[]} mutations @param {unknown} error */
  reject(mutations, error) {
    this.pending = this.pending.filter((mutation) => !mutations.includes(mutation));
    for (const { reject } of mutations) reject(error);
  }

  /** A new chain, whatever its versions, has all that was acknowledged. */
  release() {
    for (const mutation of this.pending) if (mutation.version !== null) mutation.version = 0;
  }

  /**
   * The state as it will be if nothing is refused; null as long as none is known. While one does
   * not know whether a mutation was applied, the state below it stays as it was: so its effect is
   * never shown twice. @param {import('./replica.js').Replica} replica @returns {State | null}
   */
  preview({ state, version }) {
    if (version !== null && !this.pending.some(({ inDoubt }) => inDoubt)) {
      this.#ground = state;
      this.pending = this.pending.filter((each) => (each.version ?? Infinity) > version);
    }
    if (this.#ground === null || this.pending.length === 0) return this.#ground;
    const draft = { __proto__: null, ...this.#ground };
    for (const { message } of this.pending) this.#perform(message, draft);
    return freeze(draft);
  }

  /** @param {any[]} message @param {Record<string, any>} draft */
  #perform([type, , , what, more], draft) {
    if (type === FROM_CLIENT.WRITE) {
      Object.assign(draft, what);
      for (const key of more) delete draft[key];
      return;
    }
    try {
      this.optimistic[what]?.(draft, more);
    } catch (error) {
      reportError(error); // for the page to see: it is its function
    }
  }
}
