/** A text field that saves while the user types, and shows the changes of others. */

import { report } from '../page.js';

const TYPING_PAUSE = 300; // milliseconds after which an edit is sent

/** It never changes while the user types. */
export class SavedField {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #pause;
  #edited = false;
  #saving = false;
  #stale = false;
  #listening = new AbortController();

  /**
   * @param {HTMLTextAreaElement | HTMLInputElement} field
   * @param {() => string} read
   * @param {(text: string) => Promise<unknown>} save
   */
  constructor(field, read, save) {
    this.field = field;
    this.read = read;
    this.save = save;
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
    this.#edited = false;
  }

  refresh() {
    const busy = this.#edited || this.#saving || document.activeElement === this.field;
    this.#stale = busy;
    if (!busy && this.field.value !== this.read()) this.field.value = this.read();
  }

  #wait() {
    this.#edited = true;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.#flush(), TYPING_PAUSE);
  }

  #leave() {
    if (!this.field.validity.valid) {
      this.#edited = false;
      this.#stale = true;
    }
    this.#flush();
    if (this.#stale) this.refresh();
  }

  /** One save at a time, so that few are pending while offline. @param {boolean} [last] */
  async #flush(last = false) {
    clearTimeout(this.#pause);
    if (!this.#edited || !this.field.validity.valid || (this.#saving && !last)) return;
    this.#edited = false;
    this.#saving = true;
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
