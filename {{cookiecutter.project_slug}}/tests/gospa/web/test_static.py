import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sanic import Blueprint, HTTPResponse, Request

from gospa.testing import OpenApp, Site
from gospa.web import static
from gospa.web.files import HELD
from tests.gospa.rooms import ROOMS
from tests.gospa.web.wires import OpenWire

NAMES = (
    *("page.html", "folder/script.js", ".env", "folder/.hidden/key", ".git/config"),
    "node_modules/some/package.json",
)


@pytest.fixture
async def site(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    """An application whose `client/` has these files, beside one that is not in it."""
    for name in (*(f"client/{name}" for name in NAMES), "secret"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "client/link.js").symlink_to(tmp_path / "secret")
    (tmp_path / "client/key.js").symlink_to(tmp_path / "client/.env")
    monkeypatch.setattr(static, "CLIENT", tmp_path / "client")
    view = Blueprint("home")

    @view.get("/")
    async def home(_: Request) -> HTTPResponse:
        return await static.page("page.html")

    async with open_app(ROOMS, [view]) as site:
        yield site


async def test_pages_and_files_are_served(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert (page.status_code, page.text) == (200, "client/page.html")
    assert page.headers["content-type"].startswith("text/html")
    script = await http.get("/client/folder/script.js")
    assert script.status_code == 200
    assert "javascript" in script.headers["content-type"]
    assert (await http.head("/client/folder/script.js")).status_code == 200
    assert (await http.get("/gospa/gospa.js")).status_code == 200


async def test_a_file_that_did_not_change_is_not_sent_again(http: httpx.AsyncClient) -> None:
    first = await http.get("/client/folder/script.js")
    assert first.headers["Cache-Control"] == "no-cache"
    headers = {"If-None-Match": first.headers["ETag"]}
    again = await http.get("/client/folder/script.js", headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    assert (await http.get("/", headers=headers)).status_code == 200


async def test_files_are_read_once(http: httpx.AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "client/folder/script.js"
    path.write_text("of the next release")
    assert (await http.get("/client/folder/script.js")).text == "client/folder/script.js"
    path.unlink()
    assert (await http.get("/client/folder/script.js")).status_code == 200


async def test_a_file_is_known_by_its_content(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it was changed without a change of its time or size."""
    monkeypatch.setattr(static, "CLIENT", tmp_path)
    tags = []
    for text in ("one", "two", "one"):
        (tmp_path / "a.js").write_text(text)
        os.utime(tmp_path / "a.js", (0, 0))
        static.read_all.cache_clear()  # another process
        async with open_app(ROOMS) as site, site.http() as http:
            tags.append((await http.get("/client/a.js")).headers["ETag"])
    assert tags[0] == tags[2] != tags[1]


async def test_a_large_file_is_served_as_well(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "CLIENT", tmp_path)
    content = bytes(range(256)) * (HELD // 256 + 1)
    (tmp_path / "film.bin").write_bytes(content)
    async with open_app(ROOMS) as site, site.http() as http:
        first = await http.get("/client/film.bin")
        assert first.content == content
        assert int((await http.head("/client/film.bin")).headers["Content-Length"]) == len(content)
        headers = {"If-None-Match": first.headers["ETag"]}
        assert (await http.get("/client/film.bin", headers=headers)).status_code == 304


async def test_text_is_compressed_for_those_who_accept_it(http: httpx.AsyncClient) -> None:
    packed = await http.get("/gospa/gospa.js", headers={"Accept-Encoding": "br, gzip"})
    plain = await http.get("/gospa/gospa.js", headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 2
    assert packed.text == plain.text
    assert {each.headers["Vary"] for each in (packed, plain)} == {"Accept-Encoding"}


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        *(("GZIP", True), ("br,gzip ; q=0.5", True), ("gzip;q=0, br", False)),
        *(("deflate, gzip ; q=0.000", False), ("", False), ("*;q=0, gzip", True)),
    ],
)
async def test_an_encoding_of_weight_0_is_not_accepted(
    http: httpx.AsyncClient, accepted: str, packed: bool
) -> None:
    answer = await http.get("/gospa/gospa.js", headers={"Accept-Encoding": accepted})
    assert ("Content-Encoding" in answer.headers) == packed


async def test_who_reads_a_large_file_slowly_takes_little_memory(
    open_app: OpenApp, open_wire: OpenWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "CLIENT", tmp_path)
    size = 32 * 1024 * 1024
    with (tmp_path / "film.bin").open("wb") as file:
        file.truncate(size)
    async with open_app(ROOMS) as site:
        tracemalloc.start()
        try:
            wire = await open_wire(site)
            wire.ask("/client/film.bin", method="GET")
            assert await wire.status(to_head=True) == 200
            assert tracemalloc.get_traced_memory()[0] < size / 2
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("path", ["/", "/client/folder/script.js", "/nothing", "/health/live"])
async def test_every_answer_has_the_security_headers(http: httpx.AsyncClient, path: str) -> None:
    headers = (await http.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


async def test_a_page_sets_no_cookie(http: httpx.AsyncClient) -> None:
    assert "set-cookie" not in (await http.get("/")).headers


@pytest.mark.parametrize(
    "path",
    [
        *("/client/../secret", "/client/%2e%2e/secret", "/client//etc/passwd", "/client/link.js"),
        *("/client/", "/client/folder", "/client/%00", "/client/" + "x" * 300),
        *("/client/.env", "/client/key.js", "/client/folder/.hidden/key", "/client/.git/config"),
        *("/client/%2eenv", "/client/folder%2f.hidden%2fkey", "/gospa/../testing.py"),
        "/client/node_modules/some/package.json",
    ],
)
async def test_no_other_file_is_served(address: str, path: str) -> None:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))  # httpx would fold the dots
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.split()[1] in {b"400", b"404"}
