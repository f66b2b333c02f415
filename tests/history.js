/**
 * Random histories of a room in the browser client: changes, lost connections, late answers, and
 * pages that replace each other, against a server that keeps a chain of commits.
 *
 * Each change adds a power of BASE to one field. So the digits of a shown value say which changes it
 * has, and how often. From some version on it also adds an item to a collection, which has to be shown
 * with it. The client's module of collections comes late, or does not come at first.
 */

import { decode, encode } from '/gospa/msgpack.js';

const [SNAPSHOT, PATCH, , ACK, ERROR, WELCOME, , PONG, JOINED] = Array(9).keys();
const [JOIN, , CALL, , , PING, HELLO] = Array(7).keys();
const BASE = 4;
const CHANGES = 25; // whose digits a number can hold
const STEPS = 90;

/** A generator of numbers from 0 to 1: mulberry32. @param {number} seed */
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const tagOf = (version) => Uint8Array.from([0, 0, 0, 0, 0, 0, version >> 8, version & 255]);
const placeOf = (amount) => Math.log2(amount) / Math.log2(BASE); // of its digit
const versionOf = (tag) => (tag[6] << 8) | tag[7];

/** The room in the store: all its states, and the records of its clients. */
class Store {
  counts = [0]; // by version
  records = new Map(); // by client

  get head() {
    return this.counts.length - 1;
  }

  commit(amount) {
    return this.counts.push(this.counts[this.head] + amount) - 1;
  }

  /** Apply a client's change once. @returns its version, or null if it is refused */
  apply(client, number, amount, refuses) {
    const record = this.records.get(client) ?? { last: 0, version: 0, refused: new Set() };
    this.records.set(client, record);
    if (number > record.last) {
      record.last = number;
      if (refuses) record.refused.add(number);
      else record.version = this.commit(amount);
    }
    return record.refused.has(number) ? null : record.version;
  }
}

/** A worker's end of a connection. Messages move when the history says so. */
class Connection {
  toServer = [];
  toClient = [];
  isOpen = false;
  isCut = false;
  client = '';
  at = -1; // the version that the client was sent, once it has joined
  owed = []; // acknowledgements
  blocked = Infinity; // the number of a change that has to be repeated first
  done = 0; // the highest number that was answered

  constructor(history, socket) {
    this.history = history;
    this.socket = socket;
  }

  say(...message) {
    if (!this.isCut) this.toClient.push(message);
  }

  /** Acknowledge changes, up to those of a version. */
  acknowledge(version) {
    const due = this.owed.filter(([of]) => of <= version);
    this.owed = this.owed.filter(([of]) => of > version);
    for (const [of, number] of due) this.say(ACK, number, of, null);
  }

  /** Go on by a commit, which the client does not get if a message is missing. */
  advance(isMissing) {
    this.acknowledge(this.at + 1);
    this.at += 1;
    const set = this.history.keysOf(this.at, this.at - 1);
    if (!isMissing) this.say(PATCH, 'a', this.at, tagOf(this.at - 1), tagOf(this.at), set, []);
  }

  sendState(version) {
    this.say(SNAPSHOT, 'a', version, tagOf(version), this.history.keysOf(version));
    this.at = version;
  }

  handle([type, ...parts]) {
    if (type === PING) this.say(PONG);
    if (type === HELLO) {
      this.client = String(parts[0]);
      this.say(WELCOME, 1, 'me', { time: 0 }, { id: 's', user: null });
    }
    if (type === JOIN) this.join(parts[1] ?? 0, parts[2]);
    if (type === CALL) this.change(parts[0], parts[3]);
  }

  /** Bring the client to a version that is as new as what it knows, and maybe older than the newest. */
  join(version, tag) {
    const { history } = this;
    const goal = history.between(Math.max(version, this.at, 0), history.store.head);
    this.acknowledge(goal);
    const known = tag && versionOf(tag);
    if (tag && known <= goal && history.chance(0.7)) this.at = known;
    else this.sendState(history.between(Math.min(version, goal), goal));
    while (this.at < goal) this.advance(false);
    const names = history.plain ? [] : ['items']; // a host of another release does not know it
    this.say(JOINED, 'a', goal, tagOf(goal), { count: 0 }, names, 'full');
  }

  change(number, { amount }) {
    const { history } = this;
    const { store, vetoed } = history;
    const later = () => {
      if (number > this.done) this.blocked = Math.min(this.blocked, number);
      this.say(ERROR, number, 'unavailable', 'later', 'a');
    };
    const fate = history.chance(history.trouble) ? history.between(1, 2) : 0;
    if (number > this.blocked || fate === 1) return later();
    const version = store.apply(this.client, number, amount, vetoed.has(amount));
    if (fate === 2) return later(); // although it was applied
    this.done = Math.max(this.done, number);
    if (number === this.blocked) this.blocked = Infinity;
    if (version === null) this.say(ERROR, number, 'refused', 'no', 'a');
    else this.owed.push([version, number]);
  }
}

export class History {
  store = new Store();
  connections = [];
  trace = [];
  vetoed = new Set(); // amounts of changes that the server refuses
  own = new Map(); // amounts of this client's changes: whether they are rejected
  here = new Set(); // those of the page that is shown
  seen = new Set(); // digits that it has shown
  changes = 0;
  isUp = true; // the network

  constructor(seed, frame) {
    this.random = randomFrom(seed);
    this.frame = frame;
    this.trouble = this.between(0, 3) * 0.12; // how often the store fails
    this.weightOfLoads = this.between(0, 2) * 0.15;
    this.plain = this.between(0, 2) * this.between(0, 9); // commits without an item
    localStorage.clear();
  }

  chance(probability) {
    return this.random() < probability;
  }

  between(low, high) {
    return low + Math.floor(this.random() * (high - low + 1));
  }

  /** What the store has at a version, or what changed since another one. */
  keysOf(version, since = 0) {
    const { counts } = this.store;
    const keys = { count: counts[version] };
    for (let at = Math.max(since, this.plain) + 1; at <= version; at += 1) {
      keys[`items/${placeOf(counts[at] - counts[at - 1])}`] = true;
    }
    return keys;
  }

  amount() {
    this.changes += 1;
    return BASE ** (this.changes - 1);
  }

  // The page

  /** Load the page, which replaces the one before. */
  async load() {
    this.leave();
    await new Promise((resolve) => {
      this.frame.onload = resolve;
      this.frame.src = `/frame?${this.trace.length}`;
    });
    const { contentWindow: page } = this.frame;
    this.page = page;
    this.timers = [];
    this.waiting = []; // for the module of collections
    this.isKnown = false;
    this.here.clear();
    this.seen.clear();
    page.setTimeout = (act, wait = 0, ...args) => this.timers.push({ act: () => act(...args), wait });
    page.clearTimeout = (id) => id && delete this.timers[id - 1];
    page.fetch = async () => ({ status: 204 });
    page.crypto.getRandomValues = (into) => into.map(() => this.between(0, 255));
    page.loadItems = () => new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
    page.placeOf = placeOf;
    page.Socket = socketClass(this);
    await page.eval(`(async () => {
      await import('/gospa/persistence.js');
      window.items = await import('/gospa/collection.js');
      const { connect } = await import('/gospa/gospa.js');
      window.client = connect('/ws', { persist: true, WebSocket: Socket });
      window.errors = [];
      client.on('error', (error) => errors.push(error.message));
      window.room = client.room('a');
      room.optimistic('add', (state, { amount }) => {
        state.count += amount;
        state.items?.set(String(placeOf(amount)), true);
      });
      window.shown = [];
      room.subscribe((state) => shown.push(state));
    })()`);
    await settled();
  }

  /** The page is about to go. What it made before it knew its session is not sent by the next one. */
  leave() {
    for (const each of this.connections) this.cut(each);
    if (!this.page) return;
    delete this.page.document.hidden;
    for (const amount of this.here) if (!this.page.client.session) this.vetoed.add(amount);
  }

  click() {
    const amount = this.amount();
    if (this.chance(0.2)) this.vetoed.add(amount);
    this.own.set(amount, false);
    this.here.add(amount);
    this.page.room.call('add', { amount }).catch(() => this.own.set(amount, true));
  }

  hide(isHidden) {
    const { document } = this.page;
    Object.defineProperty(document, 'hidden', { value: isHidden, configurable: true });
    document.dispatchEvent(new this.page.Event('visibilitychange'));
  }

  tick() {
    const due = this.timers.filter(Boolean).sort((one, other) => one.wait - other.wait)[0];
    if (!due) return;
    delete this.timers[this.timers.indexOf(due)];
    due.act();
  }

  /** The module of collections comes, or does not: with an error. */
  loadItems(error) {
    const waiting = this.waiting.splice(0);
    for (const { resolve, reject } of waiting) error ? reject(error) : resolve(this.page.items);
  }

  // The network

  get connection() {
    return this.connections.at(-1);
  }

  /** End a connection. What the server has received it may still do. */
  cut(connection) {
    if (connection.isCut) return;
    connection.isCut = true;
    connection.toClient = [];
    connection.toServer.splice(this.between(0, connection.toServer.length));
  }

  receive(connection) {
    const message = connection.toClient.shift();
    connection.socket.onmessage({ data: encode(message).buffer });
  }

  // The history

  /** What may happen next, with weights. */
  possible() {
    const { connection, store } = this;
    const live = connection && !connection.isCut;
    const late = this.connections.filter((each) => each.isCut && each.toServer.length > 0);
    const joined = live && connection.at >= 0;
    return [
      [4, 'click', this.changes < CHANGES && (() => this.click())],
      [2, 'other', this.changes < CHANGES && (() => this.store.commit(this.amount()))],
      [6, 'open', live && !connection.isOpen && this.isUp && (() => connection.socket.open())],
      [9, 'handle', live && connection.toServer.length > 0 && (() => connection.handle(connection.toServer.shift()))],
      [9, 'receive', live && connection.toClient.length > 0 && (() => this.receive(connection))],
      [4, 'acknowledge', live && connection.owed.length > 0 && (() => connection.acknowledge(connection.owed[0][0]))],
      [4, 'advance', joined && connection.at < store.head && (() => connection.advance(false))],
      [0.4, 'miss', joined && connection.at < store.head && (() => connection.advance(true))],
      [0.5, 'reload room', joined && (() => connection.sendState(store.head))],
      [1, 'cut', live && (() => this.cut(connection))],
      [5, 'notice', connection?.isCut && !connection.isTold && (() => connection.socket.end())],
      [2, 'late', late.length > 0 && (() => late[0].handle(late[0].toServer.shift()))],
      [0.5, 'module', this.waiting.length > 0 && (() => this.loadItems(null))],
      [0.3, 'no module', this.waiting.length > 0 && (() => this.loadItems(new Error('no module')))],
      [1.5, 'tick', this.timers.some(Boolean) && (() => this.tick())],
      [0.7, 'retry', () => this.page.client.retry()],
      [0.5, 'network', () => { this.isUp = !this.isUp; }],
      [0.3, 'hide', () => this.hide(true)],
      [0.3, 'show', () => this.hide(false)],
      [this.weightOfLoads, 'load', () => this.load()],
    ].filter(([, , act]) => act);
  }

  async step() {
    const possible = this.possible();
    let left = this.random() * possible.reduce((sum, [weight]) => sum + weight, 0);
    const [, name, act] = possible.find(([weight]) => (left -= weight) < 0) ?? possible[0];
    this.trace.push(name);
    await act();
    await settled();
    this.check();
  }

  /** No change is shown twice, and none that was shown, or made here, is hidden. */
  check() {
    const { room, shown } = this.page;
    this.isKnown ||= shown.length > 0;
    if (!this.isKnown) return;
    for (const { count, items } of [...shown.splice(0), room.state]) {
      if (!Number.isSafeInteger(count)) throw new Error(`${count} is shown`);
      const digits = count.toString(BASE).split('').reverse().map(Number);
      const places = [...digits.keys()].filter((place) => digits[place]).map(String).sort();
      const ids = [...(items?.keys() ?? [])];
      const isWrong = this.plain ? ids.some((id) => !places.includes(id)) : String(ids) !== String(places);
      if (isWrong) throw new Error(`${digits} has the items ${ids}`);
      if (digits.some((digit) => digit > 1)) throw new Error(`${digits} has a change twice`);
      for (const amount of [...this.seen, ...this.here]) {
        if (digits[placeOf(amount)] === 1 || this.isRejected(amount)) continue;
        throw new Error(`${digits} lacks change ${placeOf(amount)}`);
      }
      digits.forEach((digit, place) => digit && this.seen.add(BASE ** place));
    }
  }

  /** Those of an earlier page are rejected without a promise. */
  isRejected(amount) {
    return this.here.has(amount) ? this.own.get(amount) : this.vetoed.has(amount);
  }

  async run() {
    await this.load();
    for (let left = STEPS; left > 0; left -= 1) await this.step();
    this.isUp = true;
    this.trouble = 0;
    this.hide(false);
    for (let left = 2000; !this.isOver; left -= 1) {
      if (!left) throw new Error(`pending: ${this.page.client.pending}, ${this.page.client.status}`);
      const calm = ['open', 'handle', 'receive', 'acknowledge', 'advance', 'notice', 'late', 'module'];
      const next = this.possible().find(([, name]) => calm.includes(name));
      this.trace.push(next?.[1] ?? 'tick');
      if (next) next[2]();
      else this.tick();
      await settled();
      this.check();
    }
    const expected = [...Array(this.changes).keys()]
      .filter((place) => !this.vetoed.has(BASE ** place))
      .reduce((sum, place) => sum + BASE ** place, 0);
    const counts = [this.store.counts.at(-1), this.page.room.state.count];
    if (counts.some((count) => count !== expected)) throw new Error(`${counts} instead of ${expected}`);
    const { count, ...items } = this.keysOf(this.store.head);
    const shown = [...(this.page.room.state.items?.keys() ?? [])].map((id) => `items/${id}`);
    if (String(Object.keys(items).sort()) !== String(shown)) throw new Error(`${shown} are shown`);
    const others = this.page.errors.filter((message) => !/^no( module)?$|another session/.test(message));
    if (others.length > 0) throw new Error(`reported: ${others}`);
  }

  get isOver() {
    const { connection, page, store } = this;
    const isQuiet = !connection.isCut && connection.toClient.length + connection.toServer.length === 0;
    const isDone = this.waiting.length + page.client.pending === 0 && page.client.speaker === page.client.identity;
    return isQuiet && isDone && page.room.status === 'joined' && connection.at === store.head;
  }
}

/** A WebSocket of a history. */
function socketClass(history) {
  return class {
    constructor() {
      this.connection = new Connection(history, this);
      history.connections.push(this.connection);
    }

    open() {
      this.connection.isOpen = true;
      this.onopen();
    }

    end() {
      this.connection.isTold = true;
      this.onclose({ code: 1006, reason: '' });
    }

    send(bytes) {
      if (!this.connection.isCut) this.connection.toServer.push(decode(bytes));
    }

    close() {
      history.cut(this.connection);
      this.connection.isTold = true;
    }
  };
}

/** Once promises have been settled. */
const settled = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = resolve;
  port2.postMessage(null);
});

/** @returns what failed, or null */
export async function run(seed) {
  const frame = document.body.appendChild(document.createElement('iframe'));
  const history = new History(seed, frame);
  try {
    await history.run();
    return null;
  } catch (error) {
    return { seed, message: error.stack, trace: history.trace.join(', ') };
  } finally {
    frame.remove();
  }
}
