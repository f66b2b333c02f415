/**
 * For pages without a script of their own: attributes that show a room and change it.
 *
 *     <section data-room="poll/lunch">
 *       <output data-bind="yes"></output>
 *       <button data-call="vote" data-args='{"yes": true}'>Yes</button>
 *     </section>
 *
 * `data-bind` shows the value of a key, always as text, and from a form field sets it. `data-call`
 * calls an action: a button with the arguments in `data-args`, a form with its fields as well.
 */

/** @typedef {import('./client.js').Client} Client */
/** @typedef {import('./room.js').Room} Room */
/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Field */

/** @param {Client} client @param {ParentNode} [root] */
export function bind(client, root = document) {
  for (const area of /** @type {Iterable<HTMLElement>} */ (root.querySelectorAll('[data-room]'))) {
    const room = client.room(area.dataset.room ?? '');
    const report = (/** @type {Error} */ error) => client.report(error);
    const own = (/** @type {string} */ attribute) =>
      /** @type {HTMLElement[]} */ ([...area.querySelectorAll(`[${attribute}]`)]).filter(
        (element) => element.closest('[data-room]') === area,
      );
    const shown = own('data-bind');
    const show = () => shown.forEach((element) => write(element, room.state[key(element)]));
    for (const element of shown.filter(isField)) {
      element.addEventListener('change', () => {
        room.set(key(element), read(/** @type {Field} */ (element))).catch(report);
      });
    }
    for (const element of own('data-call')) {
      element.addEventListener(element instanceof HTMLFormElement ? 'submit' : 'click', (event) => {
        event.preventDefault();
        room.call(element.dataset.call ?? '', collect(element)).catch(report);
        if (element instanceof HTMLFormElement) element.reset();
      });
    }
    room.subscribe(show);
    show();
  }
}

/** @param {HTMLElement} element */
const key = (element) => element.dataset.bind ?? '';

/** @param {Element} element @returns {element is Field} */
function isField(element) {
  return element.matches('input, textarea, select');
}

/** @param {HTMLElement} element @param {any} value */
function write(element, value) {
  const text = String(value ?? '');
  if (element instanceof HTMLInputElement && element.type === 'checkbox') element.checked = !!value;
  else if (!isField(element)) element.textContent = text;
  else if (element !== document.activeElement) element.value = text;
}

/** @param {Field} field */
function read(field) {
  if (!(field instanceof HTMLInputElement)) return field.value;
  if (field.type === 'checkbox') return field.checked;
  return ['number', 'range'].includes(field.type) ? field.valueAsNumber : field.value;
}

/** @param {HTMLElement} element @returns {Record<string, any>} */
function collect(element) {
  const args = JSON.parse(element.dataset.args ?? '{}');
  if (element instanceof HTMLFormElement) {
    for (const field of /** @type {Iterable<Field>} */ (element.elements)) {
      const skipped = field.matches('[type=radio]:not(:checked)') || !field.name;
      if (isField(field) && !skipped) args[field.name] = read(field);
    }
  }
  return args;
}
