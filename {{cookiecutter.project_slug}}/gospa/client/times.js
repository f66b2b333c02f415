/**
 * How long the browser client waits, in milliseconds. A module without imports, so that bundlers
 * replace the names by the numbers.
 */

export const SILENCE = 15_000; // without a message, after which a PING is sent
export const PATIENCE = 10_000; // timeout of an answer
export const HASTE = 2_000; // the same while the browser reports that there is no network
export const STABLE = 5_000; // a connection that lasts this long resets the backoff

// Bounds of the backoff, of connections and of requests in a room
export const RECONNECT_FIRST = 500;
export const RECONNECT_LONGEST = 8_000;
export const RETRY_FIRST = 300;
export const RETRY_LONGEST = 5_000;
