/** Shows edits while developing: pages have it with `sanic --debug` only. */

const EVERY = 700; // milliseconds
/** @type {Record<string, string> | undefined} hashes by path */ let known;

async function look() {
  if (document.hidden) return;
  /** @type {Record<string, string>} */ let files;
  try {
    files = await (await fetch(new URL('files.json', import.meta.url))).json();
  } catch {
    return; // the server starts again
  }
  const paths = Object.keys({ ...known, ...files });
  const changed = paths.filter((path) => known && known[path] !== files[path]);
  known = files;
  if (changed.some((path) => !path.endsWith('.css'))) return location.reload();
  const links = /** @type {NodeListOf<HTMLLinkElement>} */ (document.querySelectorAll('link[rel=stylesheet]'));
  for (const link of links) {
    const url = new URL(link.href);
    const path = paths.find((each) => url.pathname.endsWith(each));
    // Compared with what the page has: the file may have changed before the first look.
    if (path && url.searchParams.get('v') !== files[path]) link.href = `${url.pathname}?v=${files[path]}`;
  }
}

look();
setInterval(look, EVERY);
