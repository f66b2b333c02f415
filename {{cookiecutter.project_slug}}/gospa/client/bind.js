/**
 * Attributes that show a room's state and change it, for pages without a script of their own.
 *
 *     <section data-room="poll/lunch">
 *       <output data-bind="yes"></output>
 *       <button data-call="vote" data-args='{"yes": true}'>Yes</button>
 *       <ul data-each="dishes">
 *         <template><li><span data-bind="name"></span>
 *           <button data-call="remove" data-id="dish">Remove</button></li></template>
 *       </ul>
 *       <form data-call="suggest"><input name="name"> <p data-error role="alert"></p></form>
 *     </section>
 *
 * `data-bind` shows the value of a key, always as text, and from a form field sets it. `data-call`
 * calls an action: a button with the arguments in `data-args`, a form with its fields as well.
 * `data-each` has a copy of its template for each item of a collection. In it `data-bind` names a
 * field of the item, and `data-id` the argument that gets the item's id. A form that is refused gets
 * its values back. `data-error` shows why something was refused: in its form, or directly in the
 * element of the room.
 */

/** @typedef {HTMLInputElement & Pick<HTMLSelectElement, 'options' | 'selectedOptions'>} Field */
/** @typedef {import('./room.js').Room} Room */
/** @typedef {(element: Element, error?: Error) => void} Tell shows why a change was refused, or nothing */

/** @param {import('./client.js').Client} client @param {ParentNode} [root] */
export function bind(client, root = document) {
  /** @type {Tell} */
  const tell = (element, error) => {
    const place =
      element.closest('form')?.querySelector('[data-error]') ??
      element.closest('[data-room]')?.querySelector(':scope > [data-error]');
    if (place) place.textContent = error?.message ?? '';
    else if (error) client.report(error);
  };
  /** @param {string} selector @returns {[HTMLElement, Room][]} */
  const inRooms = (selector) =>
    [...root.querySelectorAll(`[data-room] ${selector}`)].map((/** @type {any} */ element) => {
      return [element, client.open(element.closest('[data-room]').dataset.room)];
    });
  const bound = inRooms('[data-bind]');
  const calls = inRooms('[data-call]');
  for (const [list, room] of inRooms('[data-each]')) followItems(list, room, tell);
  for (const [element, room] of bound) followField(element, room, tell);
  for (const [element, room] of calls) callFrom(element, room, tell);
}

/** @param {HTMLElement} element @param {Room} room @param {Tell} tell */
function followField(element, room, tell) {
  const key = element.dataset.bind ?? '';
  const show = () => write(element, room.state[key]);
  room.subscribe(() => {
    if (room.access === null) element.blur(); // lost: show it no longer, though it has the focus
    show();
  });
  if (!isField(element)) return;
  element.addEventListener('blur', show); // changes and refusals while it had the focus
  element.addEventListener('change', () => {
    const value = read(element);
    const isNumber = typeof room.state[key] === 'number' && typeof value === 'string';
    tell(element);
    room.set(key, isNumber ? Number(value) : value).catch((error) => tell(element, error));
  });
}

/** @param {HTMLElement} list @param {Room} room @param {Tell} tell */
function followItems(list, room, tell) {
  const template = list.querySelector('template')?.content.firstElementChild;
  if (!template) throw new TypeError('an element with data-each needs a template with an element');
  /** @type {Map<string, HTMLElement>} */ const copies = new Map();
  /** @param {string} id */
  const copy = (id) => {
    const made = /** @type {HTMLElement} */ (template.cloneNode(true));
    made.dataset.item = id;
    for (const element of within(made, '[data-call]')) callFrom(element, room, tell, id);
    copies.set(id, made);
    return made;
  };
  room.select((state) => state[list.dataset.each ?? ''], (items) => {
    for (const [id, gone] of copies) {
      if (items?.has(id)) continue;
      gone.remove();
      copies.delete(id);
    }
    /** @type {Element | null} */ let last = list.querySelector(':scope > template');
    for (const [id, item] of items ?? []) {
      const shown = copies.get(id) ?? copy(id);
      for (const element of within(shown, '[data-bind]')) {
        write(element, element.dataset.bind ? item[element.dataset.bind] : item);
      }
      if (last?.nextElementSibling !== shown) last?.after(shown);
      last = shown;
    }
  });
}

/** @param {HTMLElement} top @param {string} selector @returns {HTMLElement[]} */
const within = (top, selector) =>
  [top, .../** @type {any} */ (top.querySelectorAll(selector))].filter((each) => each.matches(selector));

/**
 * @param {HTMLElement} element @param {Room} room @param {Tell} tell
 * @param {string} [item] its id, in a list
 */
function callFrom(element, room, tell, item) {
  const form = element instanceof HTMLFormElement ? element : null;
  element.addEventListener(form ? 'submit' : 'click', async (event) => {
    event.preventDefault();
    const { call = '', args = '{}', id } = element.dataset;
    const fields = [.../** @type {any} */ (form?.elements ?? [])].filter(isField);
    const given = fields.map((field) => ({ field, value: field.value, checked: field.checked }));
    tell(element);
    try {
      const named = { ...JSON.parse(args), ...collect(fields) };
      if (id && item !== undefined) named[id] = item;
      const answer = room.call(call, named);
      form?.reset();
      await answer;
    } catch (error) {
      if (fields.every(isEmpty)) given.forEach(({ field, ...own }) => Object.assign(field, own));
      tell(element, /** @type {Error} */ (error));
    }
  });
}

/** @param {Element} element @returns {element is Field} */
const isField = (element) => element.matches('input, textarea, select');

/** Whether nobody has written in it since the form was reset. @param {Field} field */
const isEmpty = (field) => !('defaultValue' in field) || field.value === field.defaultValue;

/** @param {HTMLElement} element @param {any} value */
function write(element, value) {
  const text = String(value ?? '');
  if (!isField(element)) element.textContent = text;
  else if (element.type === 'checkbox') element.checked = Boolean(value);
  else if (element.type === 'radio') element.checked = text === element.value;
  else if (element === document.activeElement) return;
  else if (element.type === 'date') element.valueAsDate = value ?? null;
  else if (element.type === 'datetime-local') element.value = value ? local(value) : '';
  else if (element.multiple) {
    for (const option of element.options) option.selected = value?.includes(option.value) ?? false;
  } else element.value = text;
}

/** A time as the browser's own clock shows it, in the form of a field. @param {Date} time */
const local = (time) =>
  new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

/** @param {Field} field */
function read(field) {
  if (field.type === 'checkbox') return field.checked;
  if (field.type === 'date') return field.valueAsDate;
  if (field.type === 'datetime-local') return field.value ? new Date(field.value) : null;
  if (field.type === 'select-multiple') return [...field.selectedOptions].map(({ value }) => value);
  if (!['number', 'range'].includes(field.type)) return field.value;
  return Number.isNaN(field.valueAsNumber) ? null : field.valueAsNumber;
}

/** @param {Field[]} fields */
function collect(fields) {
  const named = fields.filter(({ name, type, checked }) => name && (type !== 'radio' || checked));
  return Object.fromEntries(named.map((field) => [field.name, read(field)]));
}
