/** Full jitter: a wait of anything up to a bound that doubles with each attempt, from 0 on. */

/** @param {number} attempt @param {number} base @param {number} cap both in milliseconds */
export function backoff(attempt, base, cap) {
  return Math.random() * Math.min(cap, base * 2 ** attempt);
}

/** @type {[number, number]} milliseconds */
const RETRY = [300, 5_000];

/** Something that is done again after a wait, which grows until `restart`. */
export class Retry {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #attempt = 0;

  /** @param {() => void} act */
  constructor(act) {
    this.act = act;
  }

  later() {
    this.#timer ??= setTimeout(() => {
      this.stop();
      this.act();
    }, backoff(this.#attempt++, ...RETRY));
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  restart() {
    this.#attempt = 0;
  }
}
