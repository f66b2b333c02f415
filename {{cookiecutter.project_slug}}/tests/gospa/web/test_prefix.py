"""An application below a path of its host: its rooms, pages and routes know no prefix."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import redirect

from gospa import log_in, page, session_of
from gospa.client import connect
from gospa.testing import OpenApp, Site
from gospa.web import static
from gospa.web.prefix import add_to_links, removed
from tests.gospa.rooms import ROOMS

PAGE = """\
<!doctype html>
<title>Page</title>
<link rel="stylesheet" href="/client/style.css">
<script src="/client/parts/main.js" type="module"></script>
<a href="/profile">a</a><a href="//other.example/">b</a><a href="#here">c</a><a href=/>d</a>
<form action="/log-in" method="post"><button formaction='/away'>x</button></form>
"""


@pytest.fixture
async def site(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    (tmp_path / "parts").mkdir()
    for name, text in {
        "page.html": PAGE,
        "style.css": "p {}",
        "parts/main.js": "import './other.js'; import '/gospa/gospa.js';",
        "parts/other.js": "",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(static, "CLIENT", tmp_path)
    view = Blueprint("views")

    @view.get("/")
    async def home(_: Request) -> HTTPResponse:
        return await page("page.html")

    @view.post("/log-in")
    async def enter(request: Request) -> HTTPResponse:
        await log_in(request, "ann")
        return redirect("/profile", status=303)

    @view.get("/profile")
    async def profile(request: Request) -> HTTPResponse:
        return redirect(f"/app/{(await session_of(request)).user}")

    @view.get("/away")
    async def away(_: Request) -> HTTPResponse:
        return redirect("//other.example/app")

    async with open_app(ROOMS, [view], path_prefix="/app") as site:
        yield site


@pytest.mark.parametrize("path", ["/app", "/app/", "/app?a=b", "/"])
async def test_a_page_is_found_with_the_prefix_and_where_a_proxy_removed_it(
    site: Site, http: httpx.AsyncClient, path: str
) -> None:
    answer = await http.get(path)
    assert answer.status_code == 200
    links = re.findall(r"(?:href|action)=[\"']?([^\"'> ]+)", answer.text)
    assert {link.partition("?")[0] for link in links} == {
        *("/app/client/style.css", "/app/profile", "//other.example/", "#here", "/app/"),
        *("/app/log-in", "/app/away", "/app/client/parts/main.js", "/app/client/parts/other.js"),
        "/app/gospa/gospa.js",
    }
    for link in re.findall(r"[\"'](/app/(?:client|gospa)/[^\"']+)", answer.text):
        assert (await http.get(link)).status_code == 200


async def test_modules_are_found_however_they_import_each_other(
    site: Site, http: httpx.AsyncClient
) -> None:
    text = (await http.get("/app/")).text
    names = set(re.findall(r'"([^"]*\.js)": "/app/', text))
    without = {name for name in names if not name.startswith("/app/")}
    assert without > {"/client/parts/other.js", "/gospa/gospa.js"}
    assert names == without | {f"/app{name}" for name in without}


async def test_redirects_lead_to_the_application(site: Site, http: httpx.AsyncClient) -> None:
    http.follow_redirects = False
    answer = await http.post("/app/log-in")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/app/profile")
    assert (await http.get("/app/profile")).headers["Location"] == "/app/ann"
    assert (await http.get("/app/away")).headers["Location"] == "//other.example/app"


async def test_the_cookie_is_not_that_of_the_same_application_below_another_path(
    site: Site, http: httpx.AsyncClient
) -> None:
    http.follow_redirects = False
    cookie = (await http.post("/app/log-in")).headers["Set-Cookie"]
    assert re.match(r"\w+_session_app=", cookie)
    assert "Path=/;" in cookie


async def test_sockets_open_below_the_prefix(site: Site) -> None:
    for path in ("/app/ws", "/ws"):
        async with connect(f"ws://{site.address}{path}") as client:
            room = await client.join("sheet/a")
            await room.call("add")
    async with httpx.AsyncClient(base_url=f"http://{site.address}") as http:
        assert (await http.get("/app/health/ready")).status_code == 200
        for path in ("/apple/ws", "/app/app/ws", "/%61pp/ws"):
            assert (await http.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("url", "rest"),
    [
        (b"/a/b/c?d", b"/c?d"),
        (b"/a/b", b"/"),
        (b"/a/b?c", b"/?c"),
        (b"/a/bc", b"/a/bc"),
        (b"/a", b"/a"),
        (b"*", b"*"),
        (b"http://host/a/b/c?d", b"http://host/c?d"),  # the absolute form, which is allowed
        (b"https://[::1]:8/a/b", b"https://[::1]:8/"),
        (b"http://host/a/bc", b"http://host/a/bc"),
        (b"http://host", b"http://host"),
    ],
)
def test_a_prefix_is_whole_parts_of_a_path(url: bytes, rest: bytes) -> None:
    assert removed("/a/b", url) == rest


def test_without_a_prefix_a_page_stays_as_it_is() -> None:
    assert add_to_links("", PAGE) == PAGE
