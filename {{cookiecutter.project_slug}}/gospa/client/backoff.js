/** Full jitter: a wait of anything up to a bound that doubles with each attempt, from 0 on. */

/** @param {number} attempt @param {number} first bound @param {number} longest in milliseconds */
export function backoff(attempt, first, longest) {
  return Math.random() * Math.min(longest, first * 2 ** attempt);
}
