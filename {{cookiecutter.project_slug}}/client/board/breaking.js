/** Buttons that break things, to see them recover. The server has them only with GOSPA_DEMO=true. */

import { element, report } from '../page.js';

let isOffline = false;
/** @type {Set<WebSocket>} */ const opened = new Set();

/** A WebSocket that the button can cut, as a network would. */
export class Breakable extends WebSocket {
  /** @param {string | URL} url @param {string | string[]} [protocols] */
  constructor(url, protocols) {
    super(url, protocols);
    opened.add(this);
    this.addEventListener('close', () => opened.delete(this));
    if (isOffline) this.close();
  }
}

/** @param {import('/gospa/gospa.js').Client} client */
export function showBreaking(client) {
  const section = /** @type {HTMLElement} */ (document.querySelector('.breaking'));
  const offline = element('go-offline', HTMLButtonElement);
  client.on('welcome', ({ pid }) => {
    section.hidden = pid === undefined;
  });
  element('kill-worker', HTMLButtonElement).addEventListener('click', () => {
    const body = new URLSearchParams({ pid: client.server?.pid });
    fetch('/demo/kill-worker', { method: 'POST', body }).catch(report);
  });
  offline.addEventListener('click', () => {
    isOffline = !isOffline;
    offline.setAttribute('aria-pressed', String(isOffline));
    offline.textContent = isOffline ? 'Go online' : 'Go offline';
    if (isOffline) opened.forEach((socket) => socket.close());
    else client.retry();
  });
}
