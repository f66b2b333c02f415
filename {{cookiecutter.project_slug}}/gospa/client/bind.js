/**
 * Attributes that show a room's state and change it, for pages without a script of their own.
 *
 *     <section data-room="poll/lunch">
 *       <output data-bind="yes"></output>
 *       <button data-call="vote" data-args='{"yes": true}'>Yes</button>
 *     </section>
 *
 * `data-bind` shows the value of a key, always as text, and from a form field sets it. `data-call`
 * calls an action: a button with the arguments in `data-args`, a form with its fields as well.
 */

/** @typedef {HTMLInputElement} Field or a textarea or select, with the same properties */
/** @typedef {import('./room.js').Room} Room */

/** @param {import('./client.js').Client} client @param {ParentNode} [root] */
export function bind(client, root = document) {
  const report = (/** @type {Error} */ error) => client.report(error);
  /** @param {string} selector @returns {[HTMLElement, Room][]} */
  const inRooms = (selector) =>
    [...root.querySelectorAll(`[data-room] ${selector}`)].map((/** @type {any} */ element) => {
      return [element, client.room(element.closest('[data-room]').dataset.room)];
    });
  for (const [element, room] of inRooms('[data-bind]')) {
    const key = element.dataset.bind ?? '';
    const show = () => write(element, room.state[key]);
    room.subscribe(show);
    show();
    if (!isField(element)) continue;
    element.addEventListener('blur', show); // changes and refusals while it had the focus
    element.addEventListener('change', () => void room.set(key, read(element)).catch(report));
  }
  for (const [element, room] of inRooms('[data-call]')) {
    const form = element instanceof HTMLFormElement ? element : null;
    element.addEventListener(form ? 'submit' : 'click', (event) => {
      event.preventDefault();
      room.call(element.dataset.call ?? '', collect(element, form)).catch(report);
      form?.reset();
    });
  }
}

/** @param {Element} element @returns {element is Field} */
const isField = (element) => element.matches('input, textarea, select');

/** @param {HTMLElement} element @param {any} value */
function write(element, value) {
  const text = String(value ?? '');
  if (!isField(element)) element.textContent = text;
  else if (element.type === 'checkbox') element.checked = Boolean(value);
  else if (element !== document.activeElement) element.value = text;
}

/** @param {Field} field */
function read(field) {
  if (field.type === 'checkbox') return field.checked;
  return ['number', 'range'].includes(field.type) ? field.valueAsNumber : field.value;
}

/** @param {HTMLElement} element @param {HTMLFormElement | null} form */
function collect(element, form) {
  const fields = [...(form?.elements ?? [])].filter(isField);
  const named = fields.filter(({ name, type, checked }) => name && (type !== 'radio' || checked));
  const entries = named.map((field) => [field.name, read(field)]);
  return { ...JSON.parse(element.dataset.args ?? '{}'), ...Object.fromEntries(entries) };
}
