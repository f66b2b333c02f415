import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sanic import Blueprint, HTTPResponse, Request

from gospa.testing import OpenApp, Site
from gospa.web import static
from tests.gospa.rooms import ROOMS

NAMES = ("page.html", "folder/script.js", ".env", "folder/.hidden/key", ".git/config")


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
    first = await http.get("/client/page.html")
    headers = {"If-Modified-Since": first.headers["Last-Modified"]}
    assert (await http.get("/client/page.html", headers=headers)).status_code == 304


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
        *("/client/%2eenv", "/client/folder%2f.hidden%2fkey", "/gospa/../testing/member.py"),
    ],
)
async def test_no_other_file_is_served(address: str, path: str) -> None:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))  # httpx would fold the dots
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.split()[1] in {b"400", b"404"}
