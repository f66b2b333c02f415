/**
 * Inline in every page, before all else: says what is the matter if the page's own scripts do not
 * come, and comes back when they can be had. A classic script that depends on nothing.
 *
 * Without an answer of the server it waits for one. A file that the server does not have belongs to
 * another release: the page is loaded again, at once the first time, then after growing times.
 */
(() => {
  const KEY = 'gospa:reloads';
  const SLOW = 8_000; // milliseconds
  let failed = false;
  let lost = '';

  /** @param {string} text */
  const say = (text) => {
    const bar = document.getElementById('gospa-fault') ?? document.createElement('p');
    Object.assign(bar, { id: 'gospa-fault', textContent: text });
    bar.setAttribute('role', 'alert');
    bar.style.cssText = 'position:fixed;inset:0 0 auto;margin:0;padding:.6em 1em;z-index:9;'
      + 'background:#8a1c1c;color:#fff;font:1rem/1.4 system-ui,sans-serif;text-align:center';
    (document.body ?? document.documentElement).append(bar);
  };
  /** @param {(number: number) => number} change */
  const count = (change) => {
    try {
      const number = change(Number(sessionStorage.getItem(KEY)));
      sessionStorage.setItem(KEY, String(number));
      return number;
    } catch {
      return 5; // reload seldom, as it cannot be counted
    }
  };
  /** @param {string} url @returns {Promise<any>} */
  const ask = async (url) => {
    const { status } = await fetch(url, { cache: 'no-store' }).catch(() => ({ status: 0 }));
    const here = status === 404 || (status >= 200 && status < 300);
    if (here) {
      const reloads = count((number) => number + 1);
      if (reloads > 1) say('This page did not load completely. Trying again…');
      const wait = reloads > 1 ? Math.min(60_000, 1000 * 2 ** reloads) : 0;
      return setTimeout(() => location.reload(), wait);
    }
    say(status ? `The server cannot serve this page just now (${status}). Trying again…`
      : 'The server cannot be reached. Trying again…');
    return setTimeout(ask, 2000 + 3000 * Math.random(), url);
  };

  addEventListener('error', (event) => {
    const { target, message } = /** @type {any} */ (event);
    if (target === window) {
      if (document.readyState !== 'complete') say(`A script of this page failed: ${message}`);
    } else if (target.rel === 'modulepreload') {
      lost = target.href; // the script that imports it fails next, and does not say why
    } else if (!failed && (target.tagName === 'SCRIPT' || target.rel === 'stylesheet')) {
      failed = true;
      ask(lost || target.src || target.href);
    }
  }, true);
  const slow = setTimeout(() => failed || say('This page is still loading…'), SLOW);
  addEventListener('load', () => {
    clearTimeout(slow);
    if (failed) return;
    count(() => 0);
    const bar = document.getElementById('gospa-fault');
    if (bar?.textContent?.endsWith('loading…')) bar.remove();
  });
})();
