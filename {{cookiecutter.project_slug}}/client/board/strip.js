/** How things stand with the server: connection, worker, latency, and what waits to be sent. */

import { counted, element, hue } from './page.js';

/** @typedef {import('../gospa/gospa.js').Client} Client */

const PING_INTERVAL = 3000; // milliseconds
const RECOVERED_TIME = 4000;
const WAITING_SHOWN = 700; // an answer that comes sooner is no news
const WAITING_LONG = 3000;

const strip = element('strip', HTMLElement);
const stripText = element('strip-text', HTMLElement);
const status = element('status', HTMLElement);
const worker = element('worker', HTMLElement);
const latency = element('latency', HTMLElement);
const waiting = element('waiting', HTMLElement);

/** @param {Client} client */
export function showConnection(client) {
  let wasOnline = false;
  /** @type {ReturnType<typeof setTimeout>} */ let timer;
  /** @type {ReturnType<typeof setTimeout>} */ let waitingTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ let stuckTimer;

  /** @param {string} state @param {string} text */
  const show = (state, text) => {
    clearTimeout(timer);
    strip.dataset.state = state;
    // The same text for all attempts, told once, so that a screen reader does not tell of each.
    if (stripText.textContent !== text) stripText.textContent = text;
  };
  const recovered = () => {
    show('recovered', 'Back online, and up to date.');
    timer = setTimeout(() => show('calm', ''), RECOVERED_TIME);
  };
  const stuck = () => {
    if (client.status === 'online') show('recovering', 'The server cannot save just now. Your changes are kept and sent again.');
  };
  const countWaiting = () => {
    const { pending } = client;
    waiting.textContent = pending ? `${counted(pending, 'change')} not saved yet` : '';
  };

  client.on('status', (/** @type {string} */ now, /** @type {string} */ why) => {
    status.dataset.status = now;
    status.textContent = now === 'connecting' && wasOnline ? 'offline' : now;
    if (now === 'online') client.ping();
    else latency.textContent = '';
    const ended = now === 'unauthorized' || now === 'closed';
    if (ended) show('ended', `Stopped: ${why}. Reload the page to go on.`);
    else if (now === 'online' && !wasOnline) wasOnline = true;
    else if (now === 'online') {
      if (client.pending === 0) recovered();
      else show('recovering', 'Back online, sending what you changed.');
    } else if (wasOnline) {
      show('offline', 'Offline, reconnecting. Go on: what you change is kept and sent later.');
    }
  });
  client.on('pending', (/** @type {number} */ pending) => {
    if (pending === 0 && strip.dataset.state === 'recovering') recovered();
    clearTimeout(waitingTimer);
    if (pending > 0) stuckTimer ??= setTimeout(stuck, WAITING_LONG);
    else {
      clearTimeout(stuckTimer);
      stuckTimer = undefined;
    }
    waiting.dataset.count = String(pending);
    if (pending === 0 || waiting.textContent) countWaiting();
    else waitingTimer = setTimeout(countWaiting, WAITING_SHOWN);
  });
  client.on('welcome', ({ pid }) => {
    worker.textContent = `worker ${pid}`;
    worker.dataset.pid = pid;
    worker.style.setProperty('--hue', hue(pid));
    worker.hidden = false;
  });
  client.on('latency', (/** @type {number} */ milliseconds) => {
    latency.textContent = `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
  });
  waiting.dataset.count = String(client.pending); // what the page before left
  countWaiting();
  setInterval(() => document.hidden || client.ping(), PING_INTERVAL);
}
