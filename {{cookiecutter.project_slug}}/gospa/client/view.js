/** What a room shows: its confirmed state, with the effects of the mutations that are pending. */

import { NOTHING, UNKNOWN, adopt, changesBy, rebase, update, withDefaults } from './state.js';

/** @typedef {import('./state.js').Replica} Replica */
/** @typedef {import('./state.js').State} State */

/** @implements {Replica} */
export class View {
  state = NOTHING;
  fields = UNKNOWN.fields;
  collections = UNKNOWN.collections;
  version = UNKNOWN.version;
  tag = UNKNOWN.tag;
  /** @type {Record<string, import('./state.js').Optimistic>} by action */
  optimistic = Object.create(null);
  /** @type {import('./state.js').Shape | null} from JOINED; null until then */ shape = null;
  /** @type {State | null} the state without the effects of mutations */ #base = null;

  get known() {
    return this.shape !== null;
  }

  /** @param {any[]} message */
  apply(message) {
    Object.assign(this, changesBy(this, message));
  }

  /**
   * While a mutation's outcome is unknown, keep the old base, so that its effect is never shown
   * twice. If there is none, as in a page that replaces another, its effect is not shown.
   * @param {import('./requests.js').Requests} requests
   * @returns {string[]} the keys whose values changed
   */
  show(requests) {
    const { version, shape } = this;
    if (!shape) return [];
    if (!this.#base || !requests.inDoubt(version)) {
      this.#base = withDefaults(shape, this);
      requests.settle(version);
    }
    const changed = this.#set(rebase(this.#base, shape.defaults, requests.effects, this.optimistic));
    if (requests.all.length === 0) this.collections = adopt(this.collections, this.state);
    return changed;
  }

  /** Forget the state. @returns {string[]} the keys that it had */
  clear() {
    Object.assign(this, UNKNOWN);
    this.shape = this.#base = null;
    return this.#set(NOTHING);
  }

  /** @param {State} state */
  #set(state) {
    const [shown, changed] = update(this.state, state);
    this.state = shown;
    return changed;
  }
}
