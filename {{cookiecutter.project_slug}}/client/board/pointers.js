/** Where the others point: an arrow with a name on the note, which screen readers do not read. */

import { hueOf } from './people.js';

/** @typedef {import('../rooms.js').Place} Place */

// Milliseconds
const SENT_EVERY = 100;
const SHOWN_FOR = 6000; // after the last event

/**
 * @param {import('/gospa/gospa.js').Client} client
 * @param {import('/gospa/gospa.js').Room} board
 * @param {(member: string) => string} nameOf
 * @param {(note: string) => HTMLElement | null} cardOf
 */
export function showPointers(client, board, nameOf, cardOf) {
  /** @type {Map<string, { arrow: HTMLElement, timer: ReturnType<typeof setTimeout> }>} by member */
  const shown = new Map();
  /** @type {Place | undefined} to be sent */ let place;

  /** @param {string} member */
  const end = (member) => {
    shown.get(member)?.arrow.remove();
    shown.delete(member);
  };
  /** @param {string} member @param {string} name @param {Place} place */
  const show = (member, name, { note, x, y }) => {
    const arrow = shown.get(member)?.arrow ?? newArrow();
    clearTimeout(shown.get(member)?.timer);
    const card = cardOf(note);
    if (!card) return end(member);
    if (arrow.parentElement !== card) card.append(arrow);
    arrow.dataset.name = name;
    arrow.style.setProperty('--hue', hueOf(name));
    arrow.style.setProperty('--x', String(x));
    arrow.style.setProperty('--y', String(y));
    shown.set(member, { arrow, timer: setTimeout(end, SHOWN_FOR, member) });
  };
  const send = () => {
    if (client.status === 'online' && board.status === 'joined') board.send('pointing', place);
    place = undefined;
  };

  addEventListener('pointermove', ({ target, pointerType, clientX, clientY }) => {
    const card = /** @type {Element} */ (target).closest?.('#notes li');
    if (!(card instanceof HTMLElement) || pointerType === 'touch') return;
    const box = card.getBoundingClientRect();
    const x = within((clientX - box.x) / box.width);
    const y = within((clientY - box.y) / box.height);
    if (!place) setTimeout(send, SENT_EVERY);
    place = { note: card.dataset.noteId ?? '', x, y };
  });
  board.on('pointing', (place, sender) => {
    if (sender && sender.id !== client.member) show(sender.id, nameOf(sender.id), place);
  });
  return show;
}

/** @param {number} part of a length */
const within = (part) => Math.min(1, Math.max(0, part));

function newArrow() {
  const arrow = document.createElement('span');
  arrow.className = 'pointer';
  arrow.setAttribute('aria-hidden', 'true');
  return arrow;
}
