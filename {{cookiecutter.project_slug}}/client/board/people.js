/** The board's members, the worker of each, and who is typing in which note. */

import { counted, element, hue, report, tell } from '../page.js';
import { SavedField } from './field.js';

/** @typedef {import('/gospa/gospa.js').Client} Client */
/** @typedef {import('/gospa/gospa.js').Room} Room */

const MOODS = ['Brisk', 'Calm', 'Curious', 'Gentle', 'Happy', 'Merry', 'Quiet', 'Sunny'];
const ANIMALS = ['Badger', 'Crane', 'Finch', 'Heron', 'Lynx', 'Marten', 'Otter', 'Wren'];
const SHOWN = 5; // people; the others are only counted
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
  showAll = () => members && show(members.state, client.member);
  const save = (/** @type {string} */ text) => me.set('name', text.trim());
  const name = new SavedField(myName, () => me.state.name ?? '', save);
  const introduce = () => {
    if (!me.state.name) return;
    const room = board.members({ name: me.state.name, pid: client.server?.pid ?? null });
    const isOther = room !== members;
    members = room;
    if (isOther) room.subscribe(showAll);
  };
  me.subscribe((state, keys) => {
    if (me.access === null) return name.clear();
    if (state.name === '') {
      return void save(client.session?.user ?? `${any(MOODS)} ${any(ANIMALS)}`).catch(report);
    }
    name.refresh();
    if (keys.includes('name')) introduce();
  });
  client.on('status', (status) => status === 'online' && introduce()); // on another worker
  return (/** @type {string} */ id) => nameIn(members?.state.people?.get(id)?.claims);
}

/** @param {any} claims of another client, so of any type */
const nameIn = (claims) => (typeof claims?.name === 'string' && claims.name) || 'Somebody';

/** @param {any} claims */
const pidIn = (claims) => (Number.isInteger(claims?.pid) ? claims.pid : null);

/** @type {Map<string, string> | undefined} names of those who were here */ let known;
/** The name of the guest that the server plays, or none. */ let guest = '';
let showAll = () => {};

/** List the guest as a person. @param {string} name or '' */
export function showGuest(name) {
  if (name === guest) return;
  guest = name;
  showAll();
}

/** @param {Readonly<Record<string, any>>} state @param {string | null} me */
function show({ count = 0, people = new Map() }, me) {
  if (guest) {
    people = new Map(people).set('guest', { claims: { name: guest } });
    count += 1;
  }
  if (known) {
    for (const [id, { claims }] of people) if (!known.has(id)) tell(`${nameIn(claims)} came`);
    for (const [id, name] of known) if (!people.has(id)) tell(`${name} left`);
  }
  known = new Map([...people].map(([id, { claims }]) => [id, nameIn(claims)]));
  const all = [...people].map(([id, { claims }]) => {
    return { id, pid: pidIn(claims), name: nameIn(claims), mine: id === me };
  });
  all.sort((a, b) => Number(b.mine) - Number(a.mine) || a.name.localeCompare(b.name));
  const shown = all.slice(0, SHOWN);
  list.replaceChildren(...shown.map(card));
  const others = count - shown.length; // the list has only the first of many
  more.textContent = others > 0 ? `+${others}` : '';
  more.title = others > 0 ? `and ${counted(others, 'other')}` : '';
}

/** @param {{ id: string, pid: number | null, name: string, mine: boolean }} person */
function card({ id, pid, name, mine }) {
  const item = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  Object.assign(item.dataset, { member: id, pid });
  item.style.setProperty('--hue', hueOf(name));
  const [initial, who, served] = /** @type {NodeListOf<HTMLElement>} */ (
    item.querySelectorAll('.initial, .name, .served')
  );
  initial.textContent = [...name][0].toUpperCase();
  who.textContent = mine ? `${name} (you)` : name;
  served.hidden = pid === null;
  served.textContent = `worker ${pid}`;
  item.title = `${who.textContent}${pid === null ? '' : `, served by worker ${pid}`}`;
  served.style.setProperty('--hue', hue(pid ?? 0));
  return item;
}

/** A person's hue, in all tabs and on all notes. @param {string} name */
export function hueOf(name) {
  return hue([...name].reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % 997, 0));
}

/**
 * Mark the notes in which others type. `placeOf` finds the mark of a note; '' is the composer.
 *
 * @param {Client} client @param {Room} board @param {(id: string) => string} nameOf
 * @param {(note: string) => HTMLElement | null | undefined} placeOf
 */
export function showTyping(client, board, nameOf, placeOf) {
  /** @type {Map<string, { place: HTMLElement, timer: ReturnType<typeof setTimeout> }>} by member */
  const marks = new Map();
  let sent = -Infinity;

  /** @param {string} member */
  const end = (member) => {
    const mark = marks.get(member);
    if (!mark) return;
    clearTimeout(mark.timer);
    marks.delete(member);
    describe(mark.place);
  };
  /** @param {HTMLElement} place */
  const describe = (place) => {
    const writers = [...marks].filter(([, mark]) => mark.place === place).map(([id]) => id);
    const names = writers.map(nameOf);
    place.textContent = names.length === 0 ? '' : names.length === 1
      ? `${names[0]} is writing` : `${names.slice(0, 3).join(', ')} are writing`;
    place.style.setProperty('--hue', hueOf(names[0] ?? ''));
  };

  board.on('typing', (note, sender) => {
    const member = sender?.id;
    if (!member || member === client.member) return;
    const place = placeOf(note);
    if (marks.get(member)?.place !== place) end(member);
    if (!place) return;
    clearTimeout(marks.get(member)?.timer);
    marks.set(member, { place, timer: setTimeout(end, TYPING_FOR, member) });
    describe(place);
  });

  return (/** @type {string} */ note) => {
    if (client.status !== 'online' || performance.now() - sent < TYPING_EVERY) return;
    sent = performance.now();
    board.send('typing', note);
  };
}
