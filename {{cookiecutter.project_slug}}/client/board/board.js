/** The demo page: a shared board, its members, and a private note. */

import { connect } from '/gospa/gospa.js';
import { element, report, say, tell } from '../page.js';
import { Breakable, showBreaking } from './breaking.js';
import { SavedField } from './field.js';
import { inviteGuest } from './guest.js';
import { hueOf, showPeople, showTyping } from './people.js';
import { showPointers } from './pointers.js';
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

const client = connect('/ws', { persist: true, WebSocket: Breakable });
client.on('error', report);
showConnection(client);
showBreaking(client);

const name = nameIn(location.hash.slice(1));
const board = client.room(`board/${quoted(name)}`);
const me = client.room('me');

element('board-name', HTMLElement).textContent = name;
element('second-tab', HTMLAnchorElement).href = `#${encodeURIComponent(name)}`;
document.title = `${name} · board`;
addEventListener('hashchange', () => location.reload());

/** The name of a board in an address: any text in one line. @param {string} hash */
function nameIn(hash) {
  let text = hash;
  try {
    text = decodeURIComponent(hash);
  } catch { /* it is no encoded text, but can be a name as it is */ }
  const line = text.normalize('NFC').replace(/[\p{C}\p{Z}]+/gu, ' ').trim();
  return [...line].slice(0, 64).join('').trim() || 'lobby';
}

/** A text as a parameter in the name of a room, as `Board.named` has it. @param {string} text */
function quoted(text) {
  return text.replace(/[%/#@{}]/g, (mark) => encodeURIComponent(mark));
}

// The effects of the actions in rooms/board.py, shown before the server has answered

board.optimistic('add', (state, { amount = 1 }) => {
  state.count += amount;
});
board.optimistic('add_note', (state, { id, text, color, by }) => {
  if (id) state.notes.set(id, { text, color, by });
});
board.optimistic('edit_note', (state, { id, text }) => {
  const note = state.notes.get(id);
  if (note) state.notes.set(id, { ...note, text });
});
board.optimistic('remove_note', (state, { id }) => {
  state.notes.delete(id);
});

// The board

/** @type {Map<string, SavedField>} */ const fields = new Map();
let isKnown = false; // whether what changes is news

board.subscribe((state, keys) => {
  if (board.access === null) page.notes.setAttribute('aria-busy', 'true'); // unknown, and not empty
  else page.notes.removeAttribute('aria-busy');
  if (keys.includes('count')) showCount(state.count ?? '·'); // no access any more
  for (const key of keys) {
    if (key.startsWith('notes/')) showNote(key.slice('notes/'.length));
  }
  isKnown = true;
});

/** @param {number | string} count */
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

/** @param {string} id */
function showNote(id) {
  const note = noteOf(id);
  const card = cardOf(id);
  if (!note) removeCard(id);
  else if (card) fields.get(id)?.refresh();
  else place(newCard(id, note), id);
  if (note) nameParts(cardOf(id), note);
  if (!isKnown) return;
  if (card && id === board.state.guest?.note) return; // which changes with each word
  if (note) showArrival(cardOf(id), note, !card);
  if (Boolean(note) !== Boolean(card)) tell(note ? `Note added: ${note.text}` : 'Note removed');
  else if (note) tell(`Note changed: ${note.text}`);
}

/**
 * What others change lights up in the colour of whoever writes.
 * @param {Element | null} card @param {Note} note @param {boolean} isNew
 */
function showArrival(card, { by }, isNew) {
  const isMine = isNew ? by === me.state.name : card?.contains(document.activeElement);
  if (!card || isMine || matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  const mark = /** @type {HTMLElement} */ (card.querySelector('.typing'));
  const hue = mark.textContent ? mark.style.getPropertyValue('--hue') : hueOf(by ?? '');
  card.animate([{ offset: 0, boxShadow: `0 0 0 4px oklch(0.6 0.15 ${hue})` }], { duration: 1200 });
}

/** What a screen reader calls a note and its button. @param {Element | null} card @param {Note} note */
function nameParts(card, { text, by }) {
  const start = text.length > 40 ? `${text.slice(0, 40)}…` : text;
  card?.querySelector('textarea')?.setAttribute('aria-label', `Note by ${by || 'somebody'}`);
  card?.querySelector('.remove')?.setAttribute('aria-label', `Remove the note: ${start}`);
}

/** @param {string} id @returns {Note | undefined} */
const noteOf = (id) => board.state.notes?.get(id);

/** @param {string} id @param {Note} note */
function newCard(id, note) {
  const { firstElementChild: empty } = page.noteTemplate.content;
  const card = /** @type {HTMLLIElement} */ (empty?.cloneNode(true));
  const text = /** @type {HTMLTextAreaElement} */ (card.querySelector('textarea'));
  Object.assign(card.dataset, { noteId: id, color: note.color });
  const save = (/** @type {string} */ text) => board.call('edit_note', { id, text });
  const field = new SavedField(text, () => noteOf(id)?.text ?? '', save, offerOther);
  fields.set(id, field);
  field.refresh();
  text.addEventListener('input', () => tellTyping(id));
  const [remove, by, time] = /** @type {NodeListOf<HTMLElement>} */ (
    card.querySelectorAll('.remove, .by, time')
  );
  by.textContent = note.by || 'Somebody';
  by.style.setProperty('--hue', hueOf(note.by ?? ''));
  time.textContent = timeIn(id);
  remove.addEventListener('click', () => {
    const { text, color, by } = noteOf(id) ?? note;
    board.call('remove_note', { id }).catch(report);
    say('You removed a note.', 'Undo', () => addNote(text, color, by).catch(report));
  });
  return card;
}

/** When an id was made, which begins with the time. @param {string} id */
function timeIn(id) {
  const made = new Date(/^[\da-f]{17}$/.test(id) ? parseInt(id.slice(0, 11), 16) : NaN);
  if (Number.isNaN(made.getTime())) return '';
  const isToday = made.toDateString() === new Date().toDateString();
  return isToday ? made.toLocaleTimeString([], { timeStyle: 'short' }) : made.toLocaleDateString();
}

/**
 * Two people wrote in one note, and one text replaced the other.
 * @param {string} other @param {(text: string) => void} save
 */
function offerOther(other, save) {
  const text = other.length > 60 ? `${other.slice(0, 60)}…` : other;
  say(`Two of you wrote in one note. The text that was replaced: “${text}”`, 'Use it', () => save(other));
}

/** Newest first: before the next older one. @param {Element} card @param {string} id */
function place(card, id) {
  const ids = [...(board.state.notes?.keys() ?? [])];
  page.notes.insertBefore(card, cardOf(ids[ids.indexOf(id) - 1] ?? ''));
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
    const text = card.querySelector('textarea');
    if (document.activeElement === text && text?.value.trim()) {
      const { value } = text;
      const { color } = card.dataset;
      const put = () => addNote(value, Number(color), card.querySelector('.by')?.textContent).catch(report);
      say('Somebody removed the note that you were in.', 'Put it back', put);
    }
    page.notes.focus(); // where further keys do nothing
  }
  card.remove();
}

const colors = /** @type {RadioNodeList} */ (page.composer.elements.namedItem('color'));
colors.value = String(Math.floor(Math.random() * colors.length));

/** @param {string} text @param {number} color @param {string | null} [by] */
function addNote(text, color, by = me.state.name) {
  return board.call('add_note', { id: board.newId('notes'), text, color, by: by ?? '' });
}

page.composer.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = page.noteText.value;
  page.noteText.value = '';
  keepDraft();
  addNote(text, Number(colors.value)).catch((error) => {
    page.noteText.value ||= text;
    report(error);
  });
});
page.noteText.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  page.composer.requestSubmit();
});
page.noteText.addEventListener('input', () => {
  page.noteText.setCustomValidity(page.noteText.value.trim() ? '' : 'Write something first.');
  tellTyping('');
});

// What is half written is there again after a reload, and when one comes back to this board.
const DRAFT = `draft:${name}`;
function keepDraft() {
  try {
    sessionStorage.setItem(DRAFT, page.noteText.value);
  } catch { /* forbidden */ }
}
try {
  page.noteText.value ||= sessionStorage.getItem(DRAFT) ?? '';
} catch { /* forbidden */ }
addEventListener('pagehide', keepDraft);

// The private note, and the members

const keepNote = (/** @type {string} */ text) => me.set('note', text);
const myNote = new SavedField(page.myNote, () => me.state.note ?? '', keepNote);
me.subscribe(() => {
  page.myNote.readOnly = me.access === null; // typing would replace the saved text
  if (me.access === null) myNote.clear();
  else myNote.refresh();
});

const nameOf = showPeople(client, board, me);
const tellTyping = showTyping(client, board, nameOf, (note) =>
  (note === '' ? page.composer : cardOf(note))?.querySelector('.typing'),
);
const point = showPointers(client, board, nameOf, cardOf);
if (name === 'lobby') inviteGuest(client, board, point);
