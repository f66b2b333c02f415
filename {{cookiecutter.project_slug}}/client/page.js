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

/**
 * Show a message for a few seconds, with a button if there is something to do about it.
 * @param {string} text @param {string} [label] @param {() => void} [act]
 */
export function say(text, label, act) {
  const message = element('message', HTMLElement);
  message.textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => message.replaceChildren(), act ? 2 * MESSAGE_TIME : MESSAGE_TIME);
  if (!label || !act) return;
  const button = Object.assign(document.createElement('button'), { textContent: label });
  button.addEventListener('click', () => {
    message.replaceChildren();
    act();
  });
  message.append(' ', button);
}

const NEWS_EVERY = 1500; // milliseconds

/** @type {string[]} */ let news = [];

/** Have a screen reader announce an event politely; events that come at once are announced together. */
export function tell(/** @type {string} */ text) {
  if (news.length === 0) {
    setTimeout(() => {
      const last = news.slice(-3);
      const others = news.length - last.length;
      element('news', HTMLElement).textContent = [...last, others ? `and ${counted(others, 'change')}` : ''].join('. ');
      news = [];
    }, NEWS_EVERY);
  }
  news.push(text);
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
