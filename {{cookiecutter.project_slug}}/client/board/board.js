/** The demo page: a shared board, its members, and a private note. */

import { connect } from '/gospa/gospa.js';
import { element, report, say } from '../page.js';
import { SavedField } from './field.js';
import { showPeople, showTyping } from './people.js';
import { showConnection } from './strip.js';

/** @typedef {Readonly<Record<string, any>>} Note */

const page = {
  count: element('count', HTMLOutputElement),
  composer: element('composer', HTMLFormElement),
  noteText: element('note-text', HTMLTextAreaElement),
  notes: element('notes', HTMLUListElement),
  noteTemplate: element('note', HTMLTemplateElement),
  myNote: element('my-note', HTMLTextAreaElement),
};

const client = connect('/ws', { persist: true });
client.on('error', report);
showConnection(client);

const name = location.hash.slice(1).replace(/(%..|[^\w.~-])+/g, '-').slice(0, 64) || 'lobby';
const board = client.room(`board/${name}`);
const me = client.room('me');

element('board-name', HTMLElement).textContent = name;
element('second-tab', HTMLAnchorElement).href = `#${name}`;
document.title = `${name} · board`;
addEventListener('hashchange', () => location.reload());

// The effects of the actions in rooms/board.py, shown before the server has answered

board.optimistic('add', (state, { amount }) => {
  state.count += amount;
});
board.optimistic('add_note', (state, { id, text, color }) => {
  const at = Number(cardOf(id)?.dataset.at ?? Date.now()); // until the server sets the time
  state[`note:${id}`] = { text, color, at };
});
board.optimistic('edit_note', (state, { id, text }) => {
  const note = state[`note:${id}`];
  if (note) state[`note:${id}`] = { ...note, text };
});
board.optimistic('remove_note', (state, { id }) => {
  delete state[`note:${id}`];
});

// The board

/** @type {Map<string, SavedField>} */ const fields = new Map();

board.subscribe((state, keys) => {
  page.notes.removeAttribute('aria-busy');
  if (keys.includes('count')) showCount(state.count);
  for (const key of keys) {
    if (key.startsWith('note:')) showNote(key.slice('note:'.length), state[key]);
  }
});

/** @param {number} count */
function showCount(count) {
  page.count.textContent = String(count);
  page.count.style.setProperty('--digits', String(String(count).length));
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  page.count.animate([{ scale: 1.12 }, { scale: 1 }], { duration: 240, easing: 'ease-out' });
}

for (const [id, amount] of Object.entries({ increment: 1, decrement: -1 })) {
  element(id, HTMLButtonElement).addEventListener('click', () => {
    board.call('add', { amount }).catch(report);
  });
}

/** @param {string} id @param {Note | undefined} note undefined once removed */
function showNote(id, note) {
  if (!note) removeCard(id);
  else {
    const card = cardOf(id) ?? newCard(id, note);
    fields.get(id)?.refresh();
    place(card, note.at);
  }
}

/** @param {string} id @param {Note} note */
function newCard(id, note) {
  const { firstElementChild: empty } = page.noteTemplate.content;
  const card = /** @type {HTMLLIElement} */ (empty?.cloneNode(true));
  const text = /** @type {HTMLTextAreaElement} */ (card.querySelector('textarea'));
  Object.assign(card.dataset, { noteId: id, color: note.color });
  const save = (/** @type {string} */ text) => board.call('edit_note', { id, text });
  const field = new SavedField(text, () => board.state[`note:${id}`]?.text ?? '', save);
  fields.set(id, field);
  text.addEventListener('input', () => tellTyping(id));
  card.querySelector('.remove')?.addEventListener('click', () => {
    board.call('remove_note', { id }).catch(report);
  });
  return card;
}

/**
 * Newest first, in the same order for everyone: one's own note moves when the server's time for it
 * arrives. @param {HTMLElement} card @param {number} at
 */
function place(card, at) {
  card.dataset.at = String(at);
  const order = (/** @type {any} */ { dataset }) => `${dataset.at} ${dataset.noteId}`;
  const next = [...page.notes.children].find((other) => order(other) < order(card)) ?? null;
  if (card.parentNode && card.nextElementSibling === next) return;
  const active = /** @type {HTMLElement | null} */ (document.activeElement);
  page.notes.insertBefore(card, next);
  if (card.contains(active)) active?.focus();
}

/** @param {string} id @returns {HTMLElement | null} */
function cardOf(id) {
  return page.notes.querySelector(`[data-note-id="${CSS.escape(id)}"]`);
}

/** @param {string} id */
function removeCard(id) {
  fields.get(id)?.end();
  fields.delete(id);
  const card = cardOf(id);
  if (!card) return;
  if (card.contains(document.activeElement)) {
    if (document.activeElement instanceof HTMLTextAreaElement) say('This note was just removed.');
    const neighbour = card.nextElementSibling ?? card.previousElementSibling ?? page.composer;
    /** @type {HTMLElement | null} */ (neighbour.querySelector('button'))?.focus();
  }
  card.remove();
}

const colors = /** @type {RadioNodeList} */ (page.composer.elements.namedItem('color'));
colors.value = String(Math.floor(Math.random() * colors.length));

page.composer.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = page.noteText.value;
  const [number] = crypto.getRandomValues(new Uint32Array(1));
  const id = number.toString(16).padStart(8, '0');
  page.noteText.value = '';
  board.call('add_note', { id, text, color: Number(colors.value) }).catch((error) => {
    page.noteText.value ||= text;
    report(error);
  });
});
page.noteText.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  page.composer.requestSubmit();
});
page.noteText.addEventListener('input', () => tellTyping(''));

// The private note, and the members

const keepNote = (/** @type {string} */ text) => me.set('note', text);
const myNote = new SavedField(page.myNote, () => me.state.note ?? '', keepNote);
me.subscribe(() => {
  page.myNote.readOnly = false; // not before: typing would replace the saved text
  myNote.refresh();
});

const nameOf = showPeople(client, board, me);
const tellTyping = showTyping(client, board, nameOf, (note) =>
  (note === '' ? page.composer : cardOf(note))?.querySelector('.typing'),
);
