/** The status of the connection: worker, latency, and pending changes. */

import { counted, element, hue } from '../page.js';

// Milliseconds
const PING_INTERVAL = 3000;
const RECOVERED_TIME = 4000;
const WAITING_SHOWN = 700; // pending changes are shown only after this time
const WAITING_LONG = 3000;

// By `persist`, see docs/client.md
const KEPT = 'Changes are kept in this browser for 12 hours, and sent once you are back.';

const strip = element('strip', HTMLElement);
/** @type {NodeListOf<HTMLElement>} */ const parts = document.querySelectorAll('main > section');
const stripText = element('strip-text', HTMLElement);
const stripButton = element('strip-button', HTMLButtonElement);
const status = element('status', HTMLElement);
const worker = element('worker', HTMLElement);
const latency = element('latency', HTMLElement);
const waiting = element('waiting', HTMLElement);

/** @type {ReturnType<typeof setTimeout>} */ let calming;

/** @param {string} state @param {string} text @param {string} [label] @param {() => void} [act] */
function show(state, text, label = '', act = () => {}) {
  clearTimeout(calming);
  strip.dataset.state = state;
  for (const part of parts) part.inert = state === 'ended'; // until the page is loaded again
  stripButton.hidden = !label;
  stripButton.textContent = label;
  stripButton.onclick = act;
  // Set only if it differs, so that a screen reader does not announce each attempt.
  if (stripText.textContent !== text) stripText.textContent = text;
}

function showRecovered() {
  show('recovered', 'Back online, and up to date.');
  calming = setTimeout(() => show('calm', ''), RECOVERED_TIME);
}

/** Whether somebody is writing, which a reload would lose. */
function isBeingEdited() {
  const fields = [...document.querySelectorAll('textarea')];
  return fields.some((field) => field.value && (field.form || field === document.activeElement));
}

/** @param {import('/gospa/gospa.js').Client} client */
export function showConnection(client) {
  let wasOnline = false;
  let failed = false; // since it was online
  /** @type {ReturnType<typeof setTimeout>[]} */ let timers = [];

  const count = () => {
    const { pending } = client;
    waiting.textContent = pending ? `${counted(pending, 'change')} not saved yet` : '';
  };
  const showTrouble = () => {
    if (client.status === 'online' && client.trouble) show('trouble', client.trouble);
    if (client.status !== 'offline') return;
    const go = wasOnline ? KEPT : 'Trying again.';
    const text = `Offline. ${client.trouble ? `${client.trouble} ` : ''}${go}`;
    show('offline', text, 'Retry now', () => client.retry());
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
    failed ||= now === 'offline';
    status.textContent = now === 'connecting' && failed ? 'offline' : now;
    status.title = why;
    if (now === 'online') client.ping();
    else latency.textContent = '';
    const reload = () => location.reload();
    if (why.includes('(4502)')) {
      show('ended', 'Your session has ended, here or in another tab.', 'Start a new one', reload);
    } else if (now === 'unauthorized' || now === 'closed') {
      show('ended', `Stopped: ${why}.`, 'Reload the page', reload);
    } else if (now === 'offline' || client.trouble) {
      showTrouble();
    } else if (now === 'online' && wasOnline && client.pending) {
      show('recovering', 'Back online, sending what you changed.');
    } else if (now === 'online' && failed) showRecovered();
    failed &&= now !== 'online'; // connecting is not the end of it
    wasOnline ||= now === 'online';
  });
  client.on('trouble', showTrouble);
  client.on('release', () => {
    if (!isBeingEdited()) location.reload();
    else {
      const text = 'There is a new version of this page: reload it when you are done.';
      show('release', text, 'Reload', () => location.reload());
    }
  });
  client.on('pending', showPending);
  client.on('welcome', ({ pid }) => {
    worker.hidden = pid === undefined; // told only with GOSPA_DEMO=true
    if (worker.hidden) return;
    worker.textContent = `worker ${pid}`;
    worker.dataset.pid = pid;
    worker.style.setProperty('--hue', hue(pid));
  });
  client.on('latency', (/** @type {number} */ milliseconds) => {
    latency.textContent = `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
  });
  showPending(); // mutations of the page before
  setInterval(() => document.hidden || client.ping(), PING_INTERVAL);
}
