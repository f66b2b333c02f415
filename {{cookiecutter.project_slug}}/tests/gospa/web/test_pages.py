"""What rendered pages load, and what hosts of two releases give to a page of one of them."""

import gzip
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from sanic import Blueprint, HTTPResponse, Request

from gospa import html_page
from gospa.errors import StoreCorrupt
from gospa.testing import OpenApp
from gospa.web import static
from gospa.web.bundle import ENTRY, bundle
from gospa.web.files import digest_of, file_of
from gospa.web.pages import Pages
from gospa.web.release import code_digest
from tests.gospa.rooms import ROOMS

PAGE = """\
<!doctype html>
<meta charset="utf-8">
<title>Page</title>
<link rel="stylesheet" href="/client/style.css">
<script src="/client/main.js" type="module"></script>
<img src="/client/picture.svg">
<a href="/client/absent.js">none</a><a href="/client/page.html">me</a>
"""
FILES = {
    "page.html": PAGE,
    "style.css": "p {}",
    "picture.svg": "<svg/>",
    "main.js": "import { a } from './parts/a.js';\nimport'/gospa/gospa.js';import x from 'react';",
    "parts/a.js": "export{b}from'../b.js';const later = () => import('./later.js');",
    "b.js": "/** @type {import('./types.js').T} */\nexport const b = 1;",
    "parts/later.js": "export default 1;",
    "types.js": "",
    "alone.js": "",
}
LOADED = ["/client/main.js", "/client/parts/a.js", "/gospa/gospa.js", "/client/b.js"]
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.setattr(static, "CLIENT", tmp_path)

    def write(**changes: str) -> None:
        for name, text in {**FILES, **changes}.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    write()
    return write


@asynccontextmanager
async def opened(open_app: OpenApp) -> AsyncIterator[httpx.AsyncClient]:
    view = Blueprint("own")

    @view.get("/made")
    async def made(_: Request) -> HTTPResponse:
        return html_page(PAGE, 203)

    async with open_app(ROOMS, [view]) as site, site.http() as http:
        yield http


def named(page: str, path: str) -> str:
    """The URL with the hash of a file that a page names."""
    (found,) = set(re.findall(rf'"({re.escape(path)}\?v=\w+)"', page))
    return str(found)


async def test_a_page_names_its_files_by_their_content(open_app: OpenApp, write: Write) -> None:
    async with opened(open_app) as http:
        page = (await http.get("/client/page.html")).text
        for path in (*LOADED, "/client/style.css", "/client/picture.svg", "/client/parts/later.js"):
            answer = await http.get(named(page, path))
            assert answer.text == (await http.get(path)).text
            assert "immutable" in answer.headers["Cache-Control"]
    assert '"/client/absent.js"' in page
    assert '"/client/page.html"' in page
    assert "alone.js" not in page


async def test_all_modules_are_asked_for_at_once(open_app: OpenApp, write: Write) -> None:
    async with opened(open_app) as http:
        page = (await http.get("/client/page.html")).text
    preloaded = re.findall(r'<link rel="modulepreload" href="(.*?)\?v=', page)
    assert preloaded == LOADED
    assert (
        page.index('rel="modulepreload"') > page.index('type="importmap"') > page.index("<title>")
    )


async def test_the_policy_allows_the_scripts_of_the_engine_alone(
    open_app: OpenApp, write: Write
) -> None:
    async with opened(open_app) as http:
        page = await http.get("/client/page.html")
        other = (await http.get("/client/main.js")).headers["Content-Security-Policy"]
    inside = re.findall(r"<script(?: type=\"importmap\")?>(.*?)</script>", page.text, re.DOTALL)
    hashes = [b64encode(sha256(each.encode()).digest()).decode() for each in inside]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    assert len(hashes) == 2
    policy = page.headers["Content-Security-Policy"]
    assert policy == other.replace("script-src 'self'", f"script-src 'self' {allowed}")


async def test_html_of_a_view_names_files_as_pages_do(open_app: OpenApp, write: Write) -> None:
    async with opened(open_app) as http:
        made, page = await http.get("/made"), await http.get("/client/page.html")
    assert made.status_code == 203
    assert made.text == page.text
    for name in ("Content-Security-Policy", "Content-Type", "Cache-Control"):
        assert made.headers[name] == page.headers[name]


async def test_a_page_without_modules_stays_as_it_is(open_app: OpenApp, write: Write) -> None:
    text = "<!doctype html><title>x</title><link rel=icon href='data:,'><p>/client/main.js"
    write(**{"plain.html": text})
    async with opened(open_app) as http:
        answer = await http.get("/client/plain.html")
    assert answer.text == text
    assert "sha256" not in answer.headers["Content-Security-Policy"]


async def test_a_page_of_one_release_gets_its_files_from_hosts_of_the_other(
    open_app: OpenApp, write: Write
) -> None:
    """If both share a storage; otherwise it is told at once that the file is not here."""
    async with opened(open_app) as old:
        page = (await old.get("/client/page.html")).text
        url = named(page, "/client/main.js")
        content = (await old.get(url)).text
        write(**{"main.js": "import './b.js';"})
        async with opened(open_app) as new:
            answer = await new.get(url)
            current = named((await new.get("/client/page.html")).text, "/client/main.js")
            shared = new_shares(answer)
            back = await old.get(current)
    if shared:
        assert (answer.status_code, answer.text) == (200, content)
        assert (back.status_code, back.text) == (200, "import './b.js';")
        assert "immutable" in answer.headers["Cache-Control"]
    else:
        for each in (answer, back):
            assert (each.status_code, each.headers["Cache-Control"]) == (404, "no-store")


def new_shares(answer: httpx.Response) -> bool:
    return answer.status_code == 200


@pytest.mark.parametrize("wanted", ["0" * 24, "x", "0" * 2000, "../../etc", "%00", "%ff"])
async def test_what_no_release_has_is_not_there(
    open_app: OpenApp, write: Write, wanted: str
) -> None:
    async with opened(open_app) as http:
        answer = await http.get(f"/client/main.js?v={wanted}")
        assert answer.status_code == 404
        assert answer.headers["Cache-Control"] == "no-store"
        assert (await http.get("/client/main.js?v=")).status_code == 200


def test_a_release_is_what_its_files_contain(write: Write) -> None:
    static.read_all.cache_clear()
    first = static.Served(static.CLIENT, "").release
    write(**{"b.js": "export const b = 2;"})
    second = static.Served(static.CLIENT, "").release
    write()
    third = static.Served(static.CLIENT, "").release
    assert first == third != second
    assert static.Served(static.CLIENT, "v7").release == "v7"


def test_while_debugging_edits_are_noticed(write: Write) -> None:
    files = static.Files(None, "", follow=True)
    path = "/client/main.js"
    before = files.current().files[path].digest
    assert files.current() is files.current()
    write(**{"main.js": "edited"})
    assert files.current().files[path].content == b"edited"
    url = files.current().pages.url(path)
    assert url != f"{path}?v={before}"
    page = str(files.current().files["/client/page.html"].content)
    assert url in page
    assert 'src="/gospa/reload.js?v=' in page
    listed = json.loads(files.current().files[static.LISTING].content or "")
    assert listed[path] in url
    assert listed["code"] == code_digest()


def test_only_while_debugging_pages_watch_the_files(write: Write) -> None:
    write()
    served = static.Files(None, "", follow=False).current()
    assert static.LISTING not in served.files
    assert "reload.js" not in str(served.files["/client/page.html"].content)


def test_the_bundle_has_every_module_of_the_browser_client() -> None:
    text = bundle(static.ENGINE)
    on_demand = {"bind.js", "collection.js", "diagnosis.js", "persistence.js", "stream.js"}
    apart = {ENTRY, "guard.js", "reload.js", *on_demand}
    modules = {path.stem for path in static.ENGINE.glob("*.js") if path.name not in apart}
    assert set(re.findall(r"^const \$(\w+) = ", text, re.MULTILINE)) == modules
    assert not re.search(r"^\s*import\b(?!\()|/\*\*", text, re.MULTILINE)
    for name in on_demand:  # would load a module that the bundle has
        assert not re.search(r"^import\b", (static.ENGINE / name).read_text(), re.MULTILINE)


def test_imports_in_a_circle_end() -> None:
    files = {
        f"/client/{a}.js": file_of("x.js", f"import './{b}.js'".encode()) for a, b in ("ab", "ba")
    }
    text, _ = Pages(files, "1").render('<head><script type=module src="/client/a.js"></script>')
    assert text.count('rel="modulepreload"') == 2


async def test_a_file_that_is_torn_in_the_store_is_not_there_and_is_named(write: Write) -> None:
    content = gzip.compress(b"p {}")
    digest = digest_of(b"p {}")
    torn: dict[str, bytes | Exception] = {
        "0" * 24: b"torn",
        "1" * 24: content[:-9],
        "2" * 24: content,  # of another name
        "3" * 24: StoreCorrupt("it is of another type"),
    }

    class Shared:
        async def get(self, key: str) -> bytes:
            found = {**torn, digest: content}[key]
            if isinstance(found, Exception):
                raise found
            return found

    shared: Any = Shared()
    files = static.Files(shared, "", follow=False)
    assert await files._of_another_release("/client/x.css", digest) is not None  # noqa: SLF001
    assert not static.FILES.problem(digest, content)
    for name, packed in torn.items():
        assert await files._of_another_release("/client/x.css", name) is None  # noqa: SLF001
        assert isinstance(packed, Exception) or static.FILES.problem(name, packed)
