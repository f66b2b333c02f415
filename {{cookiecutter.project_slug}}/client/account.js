/** The account page: the user, the user's other sessions, and a room for users only. */

import { connect } from '/gospa/gospa.js';
import { element } from './page.js';

/** @param {string} id @param {(string | Node)[][]} items */
function list(id, items) {
  element(id, HTMLUListElement).replaceChildren(...items.map((parts) => made('li', ...parts)));
}

/** @param {string} tag @param {(string | Node)[]} parts */
function made(tag, ...parts) {
  const node = document.createElement(tag);
  node.append(...parts);
  return node;
}

const SHORT = /** @type {const} */ ({ dateStyle: 'medium', timeStyle: 'short' });

const status = element('lounge-status', HTMLElement);
const speak = element('speak', HTMLFormElement);
const text = element('text', HTMLInputElement);

async function show() {
  const answer = await fetch(new URL('../account/session', import.meta.url));
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const { user, sessions, told, demo, https } = await answer.json();
  element('no-cookie', HTMLElement).hidden = isSecureContext || !https;
  list('told', told.map((/** @type {string} */ text) => [text]));
  element('log-in', HTMLFormElement).hidden = user !== null || !demo;
  element('no-log-in', HTMLElement).hidden = user !== null || demo;
  element('user', HTMLElement).hidden = user === null;
  element('user-name', HTMLElement).textContent = user;
  list('sessions', sessions.map((/** @type {any} */ { since, here }) =>
    [`since ${new Date(since * 1000).toLocaleString([], SHORT)}${here ? ', this browser' : ''}`]));
  if (user !== null) enter();
}

function enter() {
  const client = connect();
  const lounge = client.room('lounge');
  client.on('error', report);
  client.on('status', (state) => {
    if (state === 'unauthorized') location.reload(); // logged out, here or elsewhere
    status.textContent = state === 'online' ? '' : state;
  });
  client.on('trouble', (trouble) => {
    if (trouble) status.textContent = trouble;
  });
  client.on('release', () => {
    if (!text.value) location.reload();
  });
  lounge.subscribe(({ said = new Map() }) => {
    list('said', [...said.values()].map(({ by, text }) => [made('b', `${by}:`), ` ${text}`]));
  });
  // A log-out ends the connection as well, and a reload would cancel the form's own next page.
  element('user', HTMLElement).addEventListener('submit', () => client.close());
  speak.hidden = false;
  speak.addEventListener('submit', (event) => {
    event.preventDefault();
    lounge.call('say', { text: text.value }).catch(report);
    text.value = '';
  });
}

/** @param {Error} error */
function report(error) {
  status.textContent = error.message;
}

show().catch(report);
