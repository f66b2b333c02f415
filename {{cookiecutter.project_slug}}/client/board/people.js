/** The board's members, the worker of each, and who is typing in which note. */

import { counted, element, hue, report } from '../page.js';
import { SavedField } from './field.js';

/** @typedef {import('/gospa/gospa.js').Client} Client */
/** @typedef {import('/gospa/gospa.js').Room} Room */

const MOODS = ['Brisk', 'Calm', 'Curious', 'Gentle', 'Happy', 'Merry', 'Quiet', 'Sunny'];
const ANIMALS = ['Badger', 'Crane', 'Finch', 'Heron', 'Lynx', 'Marten', 'Otter', 'Wren'];
const SHOWN = 12; // people; the others are only counted
// Milliseconds
const TYPING_EVERY = 1000; // between two `typing` events
const TYPING_FOR = 2500; // after the last event, until the mark is removed

const list = element('people', HTMLUListElement);
const more = element('more-people', HTMLElement);
const template = element('person', HTMLTemplateElement);
const myName = element('my-name', HTMLInputElement);

/** @param {string[]} words */
const any = (words) => words[Math.floor(Math.random() * words.length)];

/** @param {Client} client @param {Room} board @param {Room} me */
export function showPeople(client, board, me) {
  /** @type {Room | undefined} */ let members;
  const save = (/** @type {string} */ text) => me.set('name', text.trim());
  const name = new SavedField(myName, () => me.state.name ?? '', save);
  me.subscribe((state, keys) => {
    if (!state.name) return void save(`${any(MOODS)} ${any(ANIMALS)}`).catch(report);
    name.refresh();
    if (!keys.includes('name')) return;
    const room = board.members({ name: state.name });
    if (room !== members) room.subscribe((people) => show(people, client.member));
    members = room;
  });
  return (/** @type {string} */ id) => nameIn(members?.state[id]?.details);
}

/** @param {any} details from another client, so of any type */
const nameIn = (details) => (typeof details?.name === 'string' && details.name) || 'Somebody';

/** @param {Readonly<Record<string, any>>} members @param {string | null} me */
function show(members, me) {
  const people = Object.entries(members).map(([id, { pid, details }]) => {
    return { id, pid, name: nameIn(details), mine: id === me };
  });
  people.sort((a, b) => Number(b.mine) - Number(a.mine) || a.name.localeCompare(b.name));
  list.replaceChildren(...people.slice(0, SHOWN).map(card));
  more.textContent = people.length > SHOWN ? `and ${counted(people.length - SHOWN, 'other')}` : '';
}

/** @param {{ id: string, pid: number, name: string, mine: boolean }} person */
function card({ id, pid, name, mine }) {
  const item = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  Object.assign(item.dataset, { member: id, pid });
  item.style.setProperty('--hue', hueOf(id));
  const [initial, who, served] = /** @type {NodeListOf<HTMLElement>} */ (
    item.querySelectorAll('.initial, .name, .served')
  );
  initial.textContent = [...name][0].toUpperCase();
  who.textContent = mine ? `${name} (you)` : name;
  served.textContent = `worker ${pid}`;
  served.style.setProperty('--hue', hue(pid));
  return item;
}

/** @param {string} id */
const hueOf = (id) => hue(parseInt(id.slice(0, 6), 16));

/**
 * Mark the notes in which others type. `placeOf` finds the mark of a note; '' is the composer.
 *
 * @param {Client} client @param {Room} board @param {(id: string) => string} nameOf
 * @param {(note: string) => HTMLElement | null | undefined} placeOf
 */
export function showTyping(client, board, nameOf, placeOf) {
  /** @type {Map<string, () => void>} by member */ const marks = new Map();
  let sent = -Infinity;

  board.on('typing', (note, member) => {
    if (typeof note !== 'string' || member === client.member) return;
    marks.get(member)?.();
    const place = placeOf(note);
    if (!place) return;
    place.textContent = `${nameOf(member)} is writing`;
    place.style.setProperty('--hue', hueOf(member));
    const timer = setTimeout(() => marks.get(member)?.(), TYPING_FOR);
    marks.set(member, () => {
      clearTimeout(timer);
      marks.delete(member);
      place.textContent = '';
    });
  });

  return (/** @type {string} */ note) => {
    if (performance.now() - sent < TYPING_EVERY) return;
    sent = performance.now();
    board.send('typing', note);
  };
}
