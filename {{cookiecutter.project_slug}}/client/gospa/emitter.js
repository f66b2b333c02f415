/** Listeners, by the name of what they listen to. */

/** @typedef {(...news: any[]) => void} Listener */

export class Emitter {
  /** @type {Map<string, Set<Listener>>} */ #listeners = new Map();

  /** @param {string} name @param {Listener} listener @returns {() => void} stops listening */
  on(name, listener) {
    const own = (/** @type {any[]} */ ...news) => listener(...news); // each `on` has its own end
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(own));
    return () => void listeners.delete(own);
  }

  /** Returns whether anybody listened. @param {string} name @param {any[]} news */
  emit(name, ...news) {
    const listeners = [...(this.#listeners.get(name) ?? [])];
    for (const listener of listeners) {
      try {
        listener(...news);
      } catch (error) {
        // A listener's mistake is for the page to see; it stops neither us nor other listeners.
        queueMicrotask(() => { throw error; });
      }
    }
    return listeners.length > 0;
  }
}
