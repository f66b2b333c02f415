/** Functions that all pages use. */

const MESSAGE_TIME = 6000; // milliseconds

/**
 * @template {HTMLElement} T
 * @param {string} id @param {new () => T} kind
 */
export function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`the page has no ${kind.name} #${id}`);
  return found;
}

/** @type {ReturnType<typeof setTimeout>} */ let timer;

/** Show a message for a few seconds. @param {string} text */
export function say(text) {
  const message = element('message', HTMLElement);
  message.textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => message.replaceChildren(), MESSAGE_TIME);
}

/** @param {Error} error */
export function report(error) {
  say(error.message);
}

/** A hue for a number. @param {number} number */
export function hue(number) {
  return String((number * 137.5) % 360); // adjacent numbers get different hues
}

/** @param {number} count @param {string} noun */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
