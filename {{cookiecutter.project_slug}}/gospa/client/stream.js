/**
 * A connection over HTTP where WebSockets are blocked: an event stream, and POST requests beside it.
 * Loaded on demand.
 */

// Milliseconds
const PACE = 100; // between two requests
const REPEAT = 5_000; // without an acknowledgement, after which a batch is sent again
const RETRY = 1_000; // before a request that failed is made again
const PATIENCE = 25_000; // for the acknowledgement of a batch
const FIRST = 30_000; // until a WebSocket is tried again,
const LONGEST = 300_000; // a time that doubles up to this
const PROBE = 10_000; // for that WebSocket's first message
const BATCH = 24_000; // bytes in a request, unless a message alone is larger
const MOST = 1_000; // messages in a request
// With HTTP/1.1 a browser has six connections to a server, for all tabs. Requests need some of them.
const PLACES = 4;
const BLOCKED = 'The server answers, but something on the way blocks WebSockets.';
const ABNORMAL = 1006; // the code of a connection that ended without one
const FINAL = [400, 403, 404, 405, 413]; // statuses that a repeated request would get again

/** What a connection uses of a WebSocket, over HTTP. */
export class StreamSocket {
  static why = 'connected over HTTP: something on the way blocks WebSockets';

  binaryType = '';
  /** @type {(() => void) | null} */ onopen = null;
  /** @type {((event: { data: ArrayBuffer }) => void) | null} */ onmessage = null;
  /** @type {((event: { code: number, reason: string }) => void) | null} */ onclose = null;
  /** @type {(() => void) | null} a WebSocket would work by now */ onback = null;
  #url;
  #offered;
  #id = '';
  #sent = 0; // the number of the last batch,
  #taken = 0; // and of the last one that was acknowledged
  /** @type {Uint8Array<ArrayBuffer>[]} */ #waiting = [];
  /** @type {Uint8Array<ArrayBuffer> | undefined} the first message */ #hello;
  #sending = false;
  #pinged = false; // whether the server waits for a request
  #hurry = () => {};
  #acknowledged = () => {};
  #type = ''; // of the event that is being read,
  /** @type {string[]} */ #data = []; // and its lines
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #ending = new AbortController();

  /** @param {string | URL} url of the WebSocket @param {string[]} offered subprotocols */
  constructor(url, offered) {
    this.#url = new URL(url);
    this.#offered = offered;
    const { signal } = this.#ending;
    globalThis.addEventListener?.('online', () => this.#probe(FIRST), { signal });
    this.#probeAfter(FIRST);
    const unreachable = () => 'The server cannot be reached.';
    this.#open().catch(unreachable).then((reason) => this.#end(ABNORMAL, reason));
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes */
  send(bytes) {
    this.#hello ??= bytes;
    this.#waiting.push(bytes);
    this.#flush();
  }

  close() {
    clearTimeout(this.#timer);
    this.#ending.abort();
  }

  /** @param {number} code @param {string} reason */
  #end(code = ABNORMAL, reason = '') {
    if (this.#ending.signal.aborted) return;
    this.close();
    this.onclose?.({ code, reason });
  }

  /** @param {string} path below that of the WebSocket */
  #http(path) {
    const url = new URL(this.#url);
    url.protocol = url.protocol.replace(/^ws/, 'http');
    url.pathname += path;
    return url;
  }

  /** @param {string} path @param {string} body */
  #post(path, body) {
    const { signal } = this.#ending;
    const options = /** @type {const} */ ({ method: 'POST', credentials: 'include', cache: 'no-store' });
    return fetch(this.#http(path), { ...options, body, signal });
  }

  /** Read the stream up to its end; returns the reason if there is none. */
  async #open() {
    if (!await hasPlace(this.#http('').href, this.#ending.signal)) return 'Other tabs use the connections to this site.';
    const { ok, status, body } = await this.#post('/stream', this.#offered.join(' '));
    if (status === 404) return BLOCKED;
    if (!ok || !body) return `The server refuses connections just now (${status}).`;
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.#ending.signal.aborted) return BLOCKED;
      const lines = (rest + value).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#read(line);
    }
  }

  /** @param {string} line */
  #read(line) {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(': ');
    const [field, value] = colon < 0 ? [line.replace(':', ''), ''] : [line.slice(0, colon), line.slice(colon + 2)];
    if (field === 'event') this.#type = value;
    if (field === 'data') this.#data.push(value);
    if (field === 'id') {
      this.#taken = Number(value);
      this.#acknowledged();
    }
  }

  #dispatch() {
    const [type, data] = [this.#type, this.#data];
    [this.#type, this.#data] = ['', []];
    if (this.#ending.signal.aborted) return;
    if (type === '' && data.length > 0) {
      const bytes = Uint8Array.from(data.map(atob).join(''), (character) => character.charCodeAt(0));
      this.onmessage?.({ data: bytes.buffer });
    } else if (type === 'open') {
      [this.#id] = data;
      this.onopen?.();
    } else if (type === 'ping') {
      this.#pinged = true;
      this.#hurry();
      this.#flush();
    } else if (type === 'close') {
      // Before it, there may be lines of a message that did not come completely.
      const [code, ...reason] = (data.at(-1) ?? '').split(' ');
      this.#end(Number(code), reason.join(' '));
    }
  }

  /** Send what waits: one batch at a time, so that the server gets all in order. */
  async #flush() {
    if (this.#sending || !this.#id) return;
    this.#sending = true;
    await Promise.resolve(); // what else is sent just now goes with it
    while ((this.#waiting.length > 0 || this.#pinged) && !this.#ending.signal.aborted) {
      this.#pinged = false;
      const pace = pause(PACE);
      await this.#deliver(this.#batch());
      // Browsers delay the timers of hidden pages by up to a minute, and the server does not wait.
      if (!this.#pinged) await Promise.race([pace, new Promise((go) => (this.#hurry = () => go(null)))]);
    }
    this.#sending = false;
  }

  #batch() {
    let size = 0;
    const fits = this.#waiting.findIndex(({ length }, index) => {
      return ((size += length) > BATCH && index > 0) || index === MOST;
    });
    return this.#waiting.splice(0, fits < 0 ? Infinity : fits);
  }

  /** Send a batch until it is acknowledged. @param {Uint8Array[]} messages */
  async #deliver(messages) {
    const number = (this.#sent += 1);
    const text = (/** @type {Uint8Array} */ message) => {
      return btoa(Array.from(message, (byte) => String.fromCharCode(byte)).join(''));
    };
    const body = [`${this.#id} ${number}`, ...messages.map(text)].join('\n');
    const timer = setTimeout(() => this.#end(), PATIENCE);
    while (this.#taken < number && !this.#ending.signal.aborted) {
      const status = await this.#post('/send', body).then((answer) => answer.status, () => 0);
      if (FINAL.includes(status)) this.#end();
      if (this.#taken >= number) break;
      await Promise.race([
        pause(status === 204 ? REPEAT : RETRY),
        new Promise((go) => (this.#acknowledged = () => go(null))),
      ]);
    }
    clearTimeout(timer);
  }

  /** @param {number} wait */
  #probeAfter(wait) {
    clearTimeout(this.#timer);
    if (this.#ending.signal.aborted) return;
    this.#timer = setTimeout(() => this.#probe(wait), wait);
  }

  /** Find out whether a WebSocket gets an answer. @param {number} wait before the next attempt */
  #probe(wait) {
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.#url, this.#offered);
    const close = () => socket.close();
    const timer = setTimeout(close, PROBE);
    this.#ending.signal.addEventListener('abort', close);
    socket.onopen = () => this.#hello && socket.send(this.#hello);
    socket.onmessage = () => {
      close();
      if (!this.#ending.signal.aborted) this.onback?.();
    };
    socket.onclose = () => {
      clearTimeout(timer);
      this.#probeAfter(Math.min(2 * wait, LONGEST));
    };
  }
}

const pause = (/** @type {number} */ time) => new Promise((go) => setTimeout(go, time));

/**
 * Whether there is a connection left for a stream, which then is held until the signal.
 * @param {string} url that was asked before @param {AbortSignal} signal
 */
async function hasPlace(url, signal) {
  const { locks } = globalThis.navigator ?? {};
  const asked = /** @type {any} */ (performance.getEntriesByName(url).at(-1));
  if (!locks || /^h[23]/.test(asked?.nextHopProtocol)) return true;
  const ended = new Promise((go) => signal.addEventListener('abort', go));
  /** @param {number} number */
  const take = (number) => new Promise((go) => {
    locks.request(`gospa-stream-${number}`, { ifAvailable: true }, (lock) => {
      go(lock !== null);
      return lock && ended;
    });
  });
  for (let number = 0; number < PLACES; number += 1) if (await take(number)) return true;
  return false;
}
