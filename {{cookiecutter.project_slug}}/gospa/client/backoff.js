/** Full jitter: a wait of anything up to a bound that doubles with each attempt, from 0 on. */

/** @param {number} attempt @param {number} base @param {number} cap both in milliseconds */
export function backoff(attempt, base, cap) {
  return Math.random() * Math.min(cap, base * 2 ** attempt);
}
