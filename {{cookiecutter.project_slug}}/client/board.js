/** The demo page: a shared board, and a note of one's own. */

import { connect } from './gospa/gospa.js';

const TYPING_PAUSE = 300; // milliseconds after which an edit is sent
const MESSAGE_TIME = 6000;

/** @type {Record<string, string>} */
const STATUS_TEXTS = {
  offline: 'offline, reconnecting',
  connecting: 'offline, reconnecting',
  refused: 'refused, reload the page',
};

const page = {
  name: element('board-name', HTMLElement),
  status: element('status', HTMLElement),
  worker: element('worker', HTMLElement),
  message: element('message', HTMLElement),
  count: element('count', HTMLOutputElement),
  composer: element('composer', HTMLFormElement),
  noteText: element('note-text', HTMLTextAreaElement),
  notes: element('notes', HTMLUListElement),
  noteTemplate: element('note', HTMLTemplateElement),
  myNote: element('my-note', HTMLTextAreaElement),
  secondTab: element('second-tab', HTMLAnchorElement),
};

/**
 * @template {HTMLElement} T
 * @param {string} id @param {new () => T} kind
 */
function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`index.html has no ${kind.name} #${id}`);
  return found;
}

// Connection

const client = connect();

client.on('status', (status) => {
  page.status.dataset.status = status;
  // One text for all attempts, told once, so that a screen reader does not tell of each.
  const text = STATUS_TEXTS[status] ?? status;
  if (page.status.textContent !== text) page.status.textContent = text;
});
client.on('welcome', ({ pid, worker = pid }) => {
  page.worker.textContent = `worker ${pid}`;
  page.worker.title = `The server process ${worker} answers this tab`;
  page.worker.dataset.pid = pid;
  page.worker.style.setProperty('--hue', String((pid * 137.5) % 360)); // neighbours look different
  page.worker.hidden = false;
});
client.on('error', report);

/** @type {ReturnType<typeof setTimeout>} */ let messageTimer;

/** @param {any} error */
function report(error) {
  say(error.message);
}

/** @param {string} text */
function say(text) {
  page.message.textContent = text;
  clearTimeout(messageTimer);
  messageTimer = setTimeout(() => page.message.replaceChildren(), MESSAGE_TIME);
}

// Text that is saved while one types

/** Shows what others made of a text, but never under the hands of who is typing. */
class SavedField {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #pause;
  #edited = false;
  #saving = false;
  #stale = false;

  /**
   * @param {HTMLTextAreaElement} field
   * @param {() => string} read
   * @param {(text: string) => Promise<unknown>} save
   */
  constructor(field, read, save) {
    this.field = field;
    this.read = read;
    this.save = save;
    field.addEventListener('input', () => this.#wait());
    field.addEventListener('blur', () => this.#leave());
  }

  refresh() {
    const busy = this.#edited || this.#saving || document.activeElement === this.field;
    this.#stale = busy;
    if (!busy && this.field.value !== this.read()) this.field.value = this.read();
  }

  #wait() {
    this.#edited = true;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.#flush(), TYPING_PAUSE);
  }

  #leave() {
    if (!this.field.validity.valid) {
      this.#edited = false;
      this.#stale = true;
    }
    this.#flush();
    if (this.#stale) this.refresh();
  }

  async #flush() {
    clearTimeout(this.#pause);
    if (!this.#edited || this.#saving || !this.field.validity.valid) return;
    this.#edited = false;
    this.#saving = true;
    try {
      await this.save(this.field.value);
    } catch (error) {
      this.#stale = true;
      report(error);
    }
    this.#saving = false;
    if (this.#edited) this.#flush();
    else if (this.#stale) this.refresh();
  }
}

// The board

const name = location.hash.slice(1).replace(/(%..|[^\w.~-])+/g, '-').slice(0, 64) || 'lobby';
const board = client.room(`board/${name}`);
/** @type {Map<string, SavedField>} */ const fields = new Map();

page.name.textContent = name;
page.secondTab.href = `#${name}`;
document.title = `${name} · board`;
addEventListener('hashchange', () => location.reload());

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
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  page.count.animate([{ scale: 1.12 }, { scale: 1 }], { duration: 240, easing: 'ease-out' });
}

for (const [id, amount] of Object.entries({ increment: 1, decrement: -1 })) {
  element(id, HTMLButtonElement).addEventListener('click', () => {
    board.call('add', { amount }).catch(report);
  });
}

/** @param {string} id @param {Record<string, any> | undefined} note undefined once removed */
function showNote(id, note) {
  if (!note) removeCard(id);
  else if (fields.has(id)) fields.get(id)?.refresh();
  else addCard(id, note);
}

/** @param {string} id @param {Record<string, any>} note */
function addCard(id, note) {
  const copy = document.importNode(page.noteTemplate.content, true);
  const card = /** @type {HTMLLIElement} */ (copy.querySelector('li'));
  const text = /** @type {HTMLTextAreaElement} */ (copy.querySelector('textarea'));
  Object.assign(card.dataset, { noteId: id, color: note.color, at: note.at });
  const save = (/** @type {string} */ text) => board.call('edit_note', { id, text });
  const field = new SavedField(text, () => board.state[`note:${id}`]?.text ?? '', save);
  fields.set(id, field);
  field.refresh();
  card.querySelector('.remove')?.addEventListener('click', () => {
    board.call('remove_note', { id }).catch(report);
  });
  const cards = /** @type {HTMLLIElement[]} */ ([...page.notes.children]);
  page.notes.insertBefore(card, cards.find((other) => Number(other.dataset.at) <= note.at) ?? null);
}

/** @param {string} id */
function removeCard(id) {
  fields.delete(id);
  const card = page.notes.querySelector(`[data-note-id="${CSS.escape(id)}"]`);
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
  page.noteText.value = '';
  board.call('add_note', { text, color: Number(colors.value) }).catch((error) => {
    page.noteText.value ||= text;
    report(error);
  });
});
page.noteText.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  page.composer.requestSubmit();
});

// One's own note

const me = client.room('me');
const myNote = new SavedField(
  page.myNote,
  () => me.state.note ?? '',
  (text) => me.set('note', text),
);
me.subscribe(() => {
  page.myNote.readOnly = false; // only now: what is typed replaces what was saved
  myNote.refresh();
});

// Leaving a field saves it, and so must leaving the page.
addEventListener('pagehide', () => {
  if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
});
