/** A text field that saves while the user types, and shows the changes of others. */

import { report, say } from '../page.js';

// Milliseconds
const TYPING_PAUSE = 300; // after which an edit is sent
const SAME_TIME = 60_000; // in which what replaces one's own text is told

/** It never changes while the user types. */
export class SavedField {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #pause;
  #edited = false;
  #saving = false;
  #stale = false;
  #known = ''; // the text that the edit began with
  #own = ''; // what was saved here last, if that was lately
  #savedAt = 0;
  #listening = new AbortController();

  /**
   * @param {HTMLTextAreaElement | HTMLInputElement} field
   * @param {() => string} read
   * @param {(text: string) => Promise<unknown>} save
   * @param {(other: string, save: (text: string) => void) => void} [offer] called if somebody else
   *   wrote at the same time, with the text that was replaced
   */
  constructor(field, read, save, offer = () => {}) {
    this.field = field;
    this.read = read;
    this.save = save;
    this.offer = offer;
    field.addEventListener('input', () => this.#wait());
    field.addEventListener('blur', () => this.#leave());
    // `capture`: before the client stores pending mutations for the next page.
    const { signal } = this.#listening;
    addEventListener('pagehide', () => this.#flush(true), { capture: true, signal });
  }

  /** Stop, without saving: the note that the text belongs to is gone. */
  end() {
    this.#listening.abort();
    clearTimeout(this.#pause);
    this.#edited = this.#stale = false;
    this.#own = '';
  }

  /** Show nothing and save nothing: it was another session's, or access was lost. */
  clear() {
    clearTimeout(this.#pause);
    this.#edited = this.#stale = false;
    this.#own = '';
    this.field.blur();
    this.field.value = '';
  }

  refresh() {
    const busy = this.#edited || this.#saving || document.activeElement === this.field;
    const text = this.read();
    this.#stale = busy;
    if (performance.now() - this.#savedAt > SAME_TIME) this.#own = '';
    if (this.#own && text !== this.#own && !this.#saving) this.#meet(text);
    if (!busy && this.field.value !== text) this.field.value = text;
  }

  /** Another text came where one's own was, or is about to be. @param {string} text */
  #meet(text) {
    const replaced = this.#edited ? text : this.#own;
    this.#own = '';
    this.#known = text;
    if (replaced.trim()) this.offer(replaced, (chosen) => void this.save(chosen).catch(report));
  }

  #wait() {
    if (!this.#edited) this.#known = this.read();
    this.#edited = true;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.#flush(), TYPING_PAUSE);
  }

  #leave() {
    if (!this.#valid) {
      if (this.#edited) say('A note cannot be empty: it has its text back.');
      this.#edited = false;
      this.#stale = true;
      this.field.removeAttribute('aria-invalid');
    }
    this.#flush();
    if (this.#stale) this.refresh();
  }

  get #valid() {
    return this.field.validity.valid && (!this.field.required || this.field.value.trim() !== '');
  }

  /** One save at a time, so that few are pending while offline. @param {boolean} [last] */
  async #flush(last = false) {
    clearTimeout(this.#pause);
    if (this.#edited) this.field.setAttribute('aria-invalid', String(!this.#valid));
    if (!this.#edited || !this.#valid || (this.#saving && !last)) return;
    const before = this.read();
    if (before !== this.#known && before !== this.#own) this.#meet(before);
    this.#edited = false;
    this.#saving = true;
    this.#own = this.field.value;
    this.#savedAt = performance.now();
    try {
      await this.save(this.field.value);
    } catch (error) {
      this.#stale = true;
      report(/** @type {Error} */ (error));
    }
    this.#saving = false;
    if (this.#edited) this.#flush();
    else if (this.#stale) this.refresh();
  }
}
