/** The status of the connection: worker, latency, and pending changes. */

import { counted, element, hue } from '../page.js';

// Milliseconds
const PING_INTERVAL = 3000;
const RECOVERED_TIME = 4000;
const WAITING_SHOWN = 700; // pending changes are shown only after this time
const WAITING_LONG = 3000;

const strip = element('strip', HTMLElement);
const stripText = element('strip-text', HTMLElement);
const status = element('status', HTMLElement);
const worker = element('worker', HTMLElement);
const latency = element('latency', HTMLElement);
const waiting = element('waiting', HTMLElement);

/** @type {ReturnType<typeof setTimeout>} */ let calming;

/** @param {string} state @param {string} text */
function show(state, text) {
  clearTimeout(calming);
  strip.dataset.state = state;
  // Set only if it differs, so that a screen reader does not announce each attempt.
  if (stripText.textContent !== text) stripText.textContent = text;
}

function showRecovered() {
  show('recovered', 'Back online, and up to date.');
  calming = setTimeout(() => show('calm', ''), RECOVERED_TIME);
}

/** @param {import('/gospa/gospa.js').Client} client */
export function showConnection(client) {
  let wasOnline = false;
  /** @type {ReturnType<typeof setTimeout>[]} */ let timers = [];

  const count = () => {
    const { pending } = client;
    waiting.textContent = pending ? `${counted(pending, 'change')} not saved yet` : '';
  };
  const showStuck = () => {
    const text = 'The server cannot save just now. Your changes are kept and sent again.';
    if (client.status === 'online') show('recovering', text);
  };
  const showPending = () => {
    waiting.dataset.count = String(client.pending);
    if (client.pending === 0) {
      timers.forEach(clearTimeout);
      timers = [];
      if (strip.dataset.state === 'recovering') showRecovered();
    } else if (timers.length === 0) {
      timers = [setTimeout(count, WAITING_SHOWN), setTimeout(showStuck, WAITING_LONG)];
    }
    if (client.pending === 0 || waiting.textContent) count();
  };

  client.on('status', (/** @type {string} */ now, /** @type {string} */ why) => {
    status.dataset.status = now;
    status.textContent = now === 'connecting' && wasOnline ? 'offline' : now;
    if (now === 'online') client.ping();
    else latency.textContent = '';
    if (now === 'unauthorized' || now === 'closed') {
      show('ended', `Stopped: ${why}. Reload the page to go on.`);
    } else if (wasOnline && now !== 'online') {
      show('offline', 'Offline, reconnecting. Go on: what you change is kept and sent later.');
    } else if (wasOnline && client.pending) {
      show('recovering', 'Back online, sending what you changed.');
    } else if (wasOnline) showRecovered();
    wasOnline ||= now === 'online';
  });
  client.on('pending', showPending);
  client.on('welcome', ({ pid }) => {
    worker.textContent = `worker ${pid}`;
    worker.dataset.pid = pid;
    worker.style.setProperty('--hue', hue(pid));
    worker.hidden = false;
  });
  client.on('latency', (/** @type {number} */ milliseconds) => {
    latency.textContent = `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
  });
  showPending(); // mutations of the page before
  setInterval(() => document.hidden || client.ping(), PING_INTERVAL);
}
