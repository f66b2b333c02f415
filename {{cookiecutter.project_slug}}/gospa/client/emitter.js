/** Listeners, by the name of what they listen to. */

/** @template {string} Name */
export class Emitter extends EventTarget {
  /** @param {Name} name @param {(...news: any[]) => void} listener @returns stops listening */
  on(name, listener) {
    const own = (/** @type {any} */ event) => {
      event.preventDefault();
      listener(...event.detail);
    };
    this.addEventListener(name, own);
    return () => this.removeEventListener(name, own);
  }

  /**
   * Returns whether anybody listened. A listener's mistake is for the page to see; it stops neither
   * us nor other listeners.
   * @param {Name} name @param {any[]} news
   */
  emit(name, ...news) {
    return !this.dispatchEvent(new CustomEvent(name, { detail: news, cancelable: true }));
  }
}
