/** Listeners by event name. */

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
   * Returns whether there was a listener. The browser reports an error of a listener, and calls the
   * others.
   * @param {Name} name @param {any[]} news
   */
  emit(name, ...news) {
    return !this.dispatchEvent(new CustomEvent(name, { detail: news, cancelable: true }));
  }
}
