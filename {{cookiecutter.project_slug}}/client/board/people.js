/** Who is on the board, which worker serves each, and who is typing where. */

import { SavedField } from './field.js';
import { counted, element, hue, report } from './page.js';

/** @typedef {import('../gospa/gospa.js').Client} Client */
/** @typedef {import('../gospa/gospa.js').Room} Room */

const MOODS = ['Brisk', 'Calm', 'Curious', 'Gentle', 'Happy', 'Merry', 'Quiet', 'Sunny'];
const ANIMALS = ['Badger', 'Crane', 'Finch', 'Heron', 'Lynx', 'Marten', 'Otter', 'Wren'];
const SHOWN = 12; // people, the others are counted
// Milliseconds
const TYPING_EVERY = 1000; // others are told so often
const TYPING_FOR = 2500; // after which somebody has stopped, as far as one knows

const list = element('people', HTMLUListElement);
const more = element('more-people', HTMLElement);
const template = element('person', HTMLTemplateElement);
const myName = element('my-name', HTMLInputElement);

/** @param {string[]} words */
const any = (words) => words[Math.floor(Math.random() * words.length)];

/** @param {Client} client @param {Room} board @param {Room} me */
export function showPeople(client, board, me) {
  /** @type {Room | undefined} */ let members;
  const name = new SavedField(
    myName,
    () => me.state.name ?? '',
    (text) => me.set('name', text.trim()),
  );
  me.subscribe((state, keys) => {
    if (!state.name) return void me.set('name', `${any(MOODS)} ${any(ANIMALS)}`).catch(report);
    name.refresh();
    if (!keys.includes('name')) return;
    members ??= listen(board.members({ name: state.name }));
    board.members({ name: state.name });
  });

  /** @param {Room} room */
  function listen(room) {
    room.subscribe(() => show(client, room));
    return room;
  }
  return (/** @type {string} */ id) => nameIn(members?.state[id]?.details);
}

/** @param {any} details whatever a stranger's client says of itself */
const nameIn = (details) => (typeof details?.name === 'string' && details.name) || 'Somebody';

/** @param {Client} client @param {Room} members */
function show(client, members) {
  const people = Object.entries(members.state).map(([id, { pid, details }]) => {
    return { id, pid, name: nameIn(details), mine: id === client.member };
  });
  people.sort((a, b) => Number(b.mine) - Number(a.mine) || a.name.localeCompare(b.name));
  list.replaceChildren(...people.slice(0, SHOWN).map(card));
  more.textContent = people.length > SHOWN ? `and ${counted(people.length - SHOWN, 'other')}` : '';
}

/** @param {{ id: string, pid: number, name: string, mine: boolean }} person */
function card({ id, pid, name, mine }) {
  const copy = document.importNode(template.content, true);
  const item = /** @type {HTMLLIElement} */ (copy.querySelector('li'));
  item.dataset.member = id;
  item.dataset.pid = String(pid);
  item.style.setProperty('--hue', hueOf(id));
  const text = (/** @type {string} */ part, /** @type {string} */ value) => {
    const place = /** @type {HTMLElement} */ (item.querySelector(part));
    place.textContent = value;
    return place;
  };
  text('.initial', [...name][0].toUpperCase());
  text('.name', mine ? `${name} (you)` : name);
  text('.served', `worker ${pid}`).style.setProperty('--hue', hue(pid));
  return item;
}

/** @param {string} id */
const hueOf = (id) => hue(parseInt(id.slice(0, 6), 16));

/**
 * Marks where others type. `placeOf` finds the mark of a note; the composer's has no note.
 *
 * @param {Client} client @param {Room} board @param {(id: string) => string} nameOf
 * @param {(note: string) => HTMLElement | null | undefined} placeOf
 */
export function showTyping(client, board, nameOf, placeOf) {
  /** @type {Map<string, () => void>} by member */
  const marks = new Map();
  let told = 0;

  board.on('typing', (said) => {
    const { member, note } = said ?? {};
    if (typeof member !== 'string' || typeof note !== 'string' || member === client.member) return;
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
    if (performance.now() - told < TYPING_EVERY) return;
    told = performance.now();
    board.send('typing', { member: client.member, note });
  };
}
