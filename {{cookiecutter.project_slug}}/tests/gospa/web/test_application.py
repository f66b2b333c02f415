"""What every route answers: to any method, to what it cannot read, and when it fails."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json, text

from gospa.errors import StoreUnavailable
from gospa.testing import OpenApp, Site
from tests.gospa.rooms import ROOMS

blueprint = Blueprint("answers")


@blueprint.get("/hello/<name>")
async def hello(_: Request, name: str) -> HTTPResponse:
    return text(f"Hello, {name}!", headers={"X-Length": str(len(name))})


@blueprint.get("/pieces")
async def pieces(request: Request) -> None:
    response = await request.respond(content_type="text/plain")
    assert response is not None
    for _ in range(3):
        await response.send("piece")
    await response.eof()


@blueprint.get("/fails")
async def fail(_: Request) -> HTTPResponse:
    raise RuntimeError("secret")


@blueprint.get("/store")
async def ask(_: Request) -> HTTPResponse:
    raise StoreUnavailable("it is away")


@blueprint.post("/change")
async def change(request: Request) -> HTTPResponse:
    return json(request.json)


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app(ROOMS, [blueprint]) as site:
        yield site


GETS = ["/hello/ann", "/health/live", "/gospa/gospa.js", "/client/style.css"]


@pytest.mark.parametrize("path", GETS)
async def test_head_is_answered_as_get_without_the_body(http: httpx.AsyncClient, path: str) -> None:
    whole, head = await http.get(path), await http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "x-length", "content-security-policy"):
        assert head.headers.get(name) == whole.headers.get(name)
    if path.startswith("/hello"):
        assert head.headers["content-length"] == whole.headers["content-length"]


async def test_requests_that_fail_with_the_store_do_not_fill_the_log(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [await http.get("/store") for _ in range(3)]
    assert [(each.status_code, each.headers["Retry-After"]) for each in answers] == [(503, "1")] * 3
    assert caplog.text.count("it is away") == 1


async def test_head_of_a_stream_is_no_error(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await http.get("/pieces")).text == "piece" * 3
    head = await http.head("/pieces")
    assert (head.status_code, head.content) == (200, b"")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("path", [*GETS, "/ws", "/change", "/health/metrics"])
async def test_options_are_told_for_every_route(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.options(path)
    assert (answer.status_code, answer.content) == (204, b"")
    allowed = set(answer.headers["allow"].split(", "))
    expected = {
        "/change": {"POST", "OPTIONS"},
        "/ws": {"GET", "HEAD", "POST", "OPTIONS"},
    }
    assert allowed == expected.get(path, {"GET", "HEAD", "OPTIONS"})


async def test_what_is_not_there_has_no_methods(http: httpx.AsyncClient) -> None:
    for method in ("HEAD", "OPTIONS", "GET"):
        assert (await http.request(method, "/nothing")).status_code == 404


async def test_another_method_is_refused_with_those_that_work(http: httpx.AsyncClient) -> None:
    answer = await http.put("/hello/ann")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert (await http.head("/change")).status_code == 405


async def test_head_opens_no_socket(http: httpx.AsyncClient, site: Site) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        "Sec-WebSocket-Protocol": "gospa.v1",
    }
    answer = await http.head("/ws", headers=headers)
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert not site.app.ctx.connections


UNREADABLE = ["a/b;c;q=zz", "a/b;c/q=zz", ",", ";", "a", "\x7f", "*/*;q=x", "a" * 5000, "/,/"]


@pytest.mark.slow
@pytest.mark.parametrize("accept", UNREADABLE)
@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/fails", 500), ("/hello/a", 200)]
)
async def test_what_accept_says_unreadably_is_anything(
    http: httpx.AsyncClient, accept: str, path: str, status: int
) -> None:
    answer = await http.get(path, headers={b"Accept": accept.encode()})
    assert answer.status_code == status
    assert answer.headers["content-type"]


async def test_what_accept_says_at_length_is_anything(http: httpx.AsyncClient) -> None:
    accept = "application/json" + ",a/b" * 1000  # parsing it would take longer than all else
    answer = await http.get("/nothing", headers={"Accept": accept})
    assert answer.status_code == 404
    assert not answer.headers["content-type"].startswith("application/json")


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/fails", 500), ("/change", 405), ("/ws", 426)]
)
async def test_pages_of_errors_hold_to_our_own_policy(
    http: httpx.AsyncClient, path: str, status: int
) -> None:
    answer = await http.get(path, headers={"Accept": BROWSER})
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/html")
    assert str(status) in answer.text
    for forbidden in ("<script", "<style", "style=", "onclick", "secret"):
        assert forbidden not in answer.text


async def test_what_a_page_of_an_error_repeats_is_text(http: httpx.AsyncClient) -> None:
    answer = await http.get("/<script>alert(1)</script>", headers={"Accept": BROWSER})
    assert (answer.status_code, "<script" in answer.text) == (404, False)


async def test_programs_get_errors_as_they_ask(http: httpx.AsyncClient) -> None:
    answer = await http.get("/nothing", headers={"Accept": "application/json"})
    assert answer.json()["status"] == 404
    answer = await http.get("/nothing", headers={"Accept": "text/plain"})
    assert answer.headers["content-type"].startswith("text/plain")


async def test_while_debugging_the_traceback_is_plain_text(site: Site) -> None:
    site.app.error_handler.debug = True
    async with site.http() as client:
        answer = await client.get("/fails", headers={"Accept": BROWSER})
    assert answer.headers["content-type"].startswith("text/plain")
    assert "RuntimeError" in answer.text


@pytest.mark.parametrize("path", ["/hello/a", "/nothing", "/fails", "/gospa/gospa.js", "/ws"])
async def test_other_sites_neither_open_nor_include_what_is_answered(
    http: httpx.AsyncClient, path: str
) -> None:
    headers = (await http.get(path)).headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"


async def test_a_request_that_is_none_is_answered_as_well(address: str) -> None:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /\r\n\r\n")
    async with asyncio.timeout(40):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"content-security-policy" in answer.lower()
