"""The browser client where npm is used: its size, in Node, and with React."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

from tests.baking import APP, assert_succeeds, run
from tests.snippets import snippets
from tests.test_client import PAGE, PATCH, Server, tag

LARGEST = 7_168  # bytes, minified and with gzip
REFERENCE = (APP / "docs/client.md").read_text(encoding="utf-8")
APPLICATION = """
import { StrictMode, createElement, useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import { connect } from 'gospa';
import { useRoom } from './useRoom.js';

const client = connect();
const room = client.room('a');
window.renders = [];
function Count() {
  const count = useRoom(room, ({ count }) => count);
  useEffect(() => {
    client.room('a');
    return () => room.leave();
  }, []);
  window.renders.push(count);
  return createElement('output', null, String(count));
}
const root = document.body.appendChild(document.createElement('main'));
window.app = createRoot(root);
window.app.render(createElement(StrictMode, null, createElement(Count), createElement(Count)));
"""
ON_A_SERVER = """
import { connect } from 'gospa';
const seen = [];
const client = connect();
const room = client.room('a');
room.subscribe((state) => seen.push(state));
seen.push(client.status, room.status, { ...room.state }, room.send('wave'));
class Socket {
  constructor(url) { seen.push(String(url)); }
  close() {}
}
const bot = connect('https://example.org/ws', { WebSocket: Socket });
bot.close();
seen.push(bot.status);
console.log(JSON.stringify(seen));
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, node_modules: Path) -> Path:
    """A project with npm that has the client, and what its page of reference adds."""
    folder = tmp_path_factory.mktemp("npm")
    shutil.copytree(APP / "gospa/client", folder / "node_modules/gospa")
    for path in node_modules.iterdir():
        if not path.name.startswith("."):
            (folder / "node_modules" / path.name).symlink_to(path)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "app.js").write_text(APPLICATION)
    (folder / "server.js").write_text(ON_A_SERVER)
    for snippet in snippets(REFERENCE):
        (folder / snippet.file).write_text(snippet.text)
    return folder


def bundled(project: Path, entry: str, *options: str) -> Path:
    """What esbuild makes of a module: a folder."""
    command = (str(project / "node_modules/esbuild/bin/esbuild"), entry, "--bundle")
    made = project / f"{Path(entry).stem}-bundle"
    assert_succeeds((*command, "--format=esm", f"--outdir={made}", *options), project)
    return made


def test_what_a_page_loads_first_is_small(project: Path) -> None:
    made = bundled(project, "node_modules/gospa/gospa.js", "--minify", "--splitting")
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in made.iterdir()}
    assert len(sizes) == 6, "what is loaded on demand has a file of its own"
    assert sizes["gospa.js"] <= LARGEST


def test_a_server_may_render_pages_that_connect(project: Path) -> None:
    node = shutil.which("node")
    assert node
    done = run((node, "server.js"), project)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        *("connecting", "joining", {}, False),
        *("wss://example.org/ws", "closed"),
    ]


def test_components_of_react_follow_a_room_in_strict_mode(project: Path, browser: Browser) -> None:
    made = bundled(project, "app.js", "--define:process.env.NODE_ENV='development'")
    page = browser.new_page()

    def answer(route: Route) -> None:
        if route.request.url.endswith(".js"):
            route.fulfill(path=made / "app.js", content_type="text/javascript")
        else:
            body = "<!doctype html><body><script type=module src=/app.js></script>"
            route.fulfill(body=body, content_type="text/html")

    page.route("**/*", answer)
    server = Server(page)
    page.goto(PAGE)
    server.welcome()
    server.join(1, 10)
    server.sees("document.querySelector('main').textContent === '1010'")
    server.patch(2, 11)
    server.sees("document.querySelector('main').textContent === '1111'")
    count = page.evaluate("renders.length")
    server.send(PATCH, "a", 3, tag(2), tag(3), {"other": 1}, [])
    server.patch(4, 12)
    server.sees("document.querySelector('main').textContent === '1212'")
    assert page.evaluate(f"renders.slice({count}).includes(11)") is False
    page.close()


def test_the_program_of_the_reference_can_be_bundled(project: Path) -> None:
    bundled(project, "bot.js", "--external:ws", "--platform=node", "--target=node20")
