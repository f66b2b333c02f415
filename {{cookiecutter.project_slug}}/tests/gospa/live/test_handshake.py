"""The handshake of a WebSocket: who is let in, with which session, and what is left of it."""

import asyncio
import contextlib
import gc
import tempfile
import time
from typing import Any

import httpx
import msgpack
import pytest
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import raw
from sanic.server import HttpProtocol
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

import app as chosen
from gospa import rates
from gospa.app import create_app
from gospa.errors import StoreUnavailable
from gospa.sessions import attributes, cookie
from gospa.sessions.session import Session
from gospa.settings import Settings
from gospa.testing import OpenApp, Site, cookie_of, logged_in, serve, until
from tests.gospa import wire
from tests.gospa.raw_client import RawClient
from tests.gospa.rooms import ROOMS
from tests.gospa.views import blueprint
from tests.gospa.wire import refusal_of


async def test_a_client_without_our_subprotocol_is_refused(address: str) -> None:
    for subprotocols in (None, [Subprotocol("other")]):
        with pytest.raises(InvalidStatus) as refusal:
            async with open_websocket(f"ws://{address}/ws", subprotocols=subprotocols, proxy=None):
                pass
        assert refusal.value.response.status_code == 400


async def test_pages_of_other_origins_are_refused_with_the_remedy(address: str) -> None:
    answer = await refusal_of(address, Origin="http://evil.example")
    assert answer.status_code == 403
    assert b"GOSPA_ALLOWED_ORIGINS" in answer.body
    assert "Set-Cookie" not in answer.headers


async def test_our_subprotocol_is_taken_among_others(address: str) -> None:
    offered = [Subprotocol("other"), Subprotocol("gospa.v1")]
    url = f"ws://{address}/ws"
    async with open_websocket(url, subprotocols=offered, proxy=None) as websocket:
        assert websocket.subprotocol == "gospa.v1"


@pytest.mark.parametrize(
    ("offered", "code"),
    [(["gospa.v0", "gospa.session"], 4504), (["gospa.v2"], 4005), (["x", "gospa.v3"], 4005)],
)
async def test_who_speaks_the_protocol_of_another_release_learns_it_by_a_close_code(
    site: Site, offered: list[str], code: int
) -> None:
    """Old pages have to be reloaded; new ones find a host of their release later."""
    subprotocols = [Subprotocol(each) for each in offered]
    url = f"ws://{site.address}/ws"
    async with open_websocket(url, subprotocols=subprotocols, proxy=None) as websocket:
        assert websocket.subprotocol in offered
        assert websocket.response is not None
        assert "Set-Cookie" not in websocket.response.headers
        with pytest.raises(ConnectionClosed):
            await websocket.recv()
        assert websocket.close_code == code
    await until(lambda: not site.app.ctx.connections)
    assert await site.app.ctx.sessions.everybody() == {}


async def test_a_page_of_a_release_that_is_outdated_has_to_be_reloaded(open_app: OpenApp) -> None:
    async with open_app(ROOMS, release="c", outdated="a, b") as site:
        for release, answer in (("b", None), ("a", None), ("c", 5), ("", 5), (None, 5), ("b ", 5)):
            async with RawClient.connect(site.address, hello=False) as member:
                await member.send(6, bytes(16), release)
                if answer:
                    welcome = await member.receive()
                    assert (welcome[0], welcome[3]["release"]) == (answer, "c")
                else:
                    with pytest.raises(ConnectionClosed):
                        await member.receive()
                    assert member.websocket.close_code == 4504


async def test_workers_of_the_same_files_and_code_tell_the_same_release(
    open_app: OpenApp,
) -> None:
    told = []
    for _ in range(2):
        async with open_app(ROOMS) as site, RawClient.connect(site.address) as member:
            told.append(member.welcome[3]["release"])
    assert told[0] == told[1] != ""


@pytest.mark.parametrize("token", [None, "", "0" * 32 + "x" * 43])
async def test_who_has_no_session_gets_a_new_one(site: Site, token: str | None) -> None:
    name = attributes.cookie_name(site.app, plain=True)
    sent = "" if token is None else f"{name}={token}"
    async with RawClient.connect(site.address, cookie=sent) as member:
        assert member.cookie.partition("=")[0] == name
        assert member.cookie not in (f"{name}=", sent)


async def close_code_of(address: str, cookie: str = "") -> int:
    """The code with which a socket is closed that offers to begin its session over HTTP."""
    offered = [Subprotocol("gospa.v1"), Subprotocol("gospa.session")]
    headers = {"Cookie": cookie} if cookie else {}
    url = f"ws://{address}/ws"
    async with open_websocket(
        url, subprotocols=offered, additional_headers=headers, proxy=None
    ) as websocket:
        assert websocket.subprotocol == "gospa.v1"
        assert websocket.response is not None
        assert "Set-Cookie" not in websocket.response.headers
        with contextlib.suppress(ConnectionClosed):
            await websocket.send(msgpack.packb([6, bytes(16)]))
            await websocket.recv()
            return 0
        return websocket.close_code or 0


async def test_who_can_begin_a_session_over_http_is_told_to(site: Site) -> None:
    name = attributes.cookie_name(site.app, plain=True)
    for sent in ("", f"{name}=", f"{name}={'0' * 32}{'x' * 43}", f"{name}=a; {name}=b"):
        assert await close_code_of(site.address, sent) == 4003
    assert await site.app.ctx.sessions.everybody() == {}
    await until(lambda: not site.app.ctx.connections)
    assert await close_code_of(site.address, await site.log_in("ann")) == 0


async def test_a_session_begun_over_http_is_that_of_the_sockets_and_begun_once(
    site: Site,
) -> None:
    async with site.http() as client:
        assert (await client.post("/ws")).status_code == 204
        sent = cookie_of(client)
        assert await close_code_of(site.address, sent) == 0
        again = await client.post("/ws")
        assert (again.status_code, cookie_of(client)) == (204, sent)
        assert "set-cookie" not in again.headers
        assert len(await site.app.ctx.sessions.everybody()) == 1


async def test_a_session_that_was_only_begun_ends_within_the_hour(site: Site) -> None:
    async with site.http() as client:
        await client.post("/ws")
    (record,) = (await site.app.ctx.sessions.everybody()).values()
    idle, absolute = site.app.ctx.settings.session_idle, site.app.ctx.settings.session_absolute
    assert record.session.remaining(time.time(), idle, absolute) <= 3600


async def test_beginning_sessions_is_limited_like_handshakes_and_not_for_other_pages(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "monotonic", lambda: 0.0)  # all come in one moment
    async with open_app(handshakes_per_second=0.5) as (app, address), httpx.AsyncClient() as client:
        foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
        assert (await client.post(f"http://{address}/ws", headers=foreign)).status_code == 403
        answers = []
        for _ in range(8):
            client.cookies.clear()
            answers.append(await client.post(f"http://{address}/ws"))
        assert {answer.status_code for answer in answers} == {204, 429}
        assert answers[-1].headers["Retry-After"]
        assert len(await app.ctx.sessions.everybody()) <= 6


async def test_who_has_a_session_keeps_it(open_app: OpenApp) -> None:
    async with open_app() as (app, address):
        cookie = await logged_in(app, "ann")
        async with RawClient.connect(address, cookie=cookie) as member:
            assert member.websocket.response is not None
            assert "Set-Cookie" not in member.websocket.response.headers


async def test_a_session_that_ended_is_not_revived_by_a_handshake(open_app: OpenApp) -> None:
    async with open_app() as (app, address):
        cookie = await logged_in(app, "ann")
        await app.ctx.sessions.log_out_everywhere("ann")
        async with RawClient.connect(address, cookie=cookie) as member:
            assert member.cookie[:40] != cookie[:40]
        assert await app.ctx.sessions.sessions_of("ann") == []


async def test_a_token_that_was_replaced_opens_no_socket(open_app: OpenApp) -> None:
    async with open_app() as (app, address):
        sent = await logged_in(app, "ann")
        name, _, token = sent.partition("=")
        record = await app.ctx.sessions.load(token)
        await app.ctx.sessions.rotate(record)
        answer = await refusal_of(address, cookie=sent)
        assert (answer.status_code, b"new token" in answer.body) == (401, True)
        async with RawClient.connect(address, cookie=f"{name}={record.token}"):
            pass


@pytest.mark.parametrize("offered", [["gospa.v1"], ["gospa.v1", "gospa.session"]])
async def test_where_sockets_need_a_login_others_are_told_by_a_close_code(
    open_app: OpenApp, offered: list[str]
) -> None:
    """Browsers hide the status of a refused handshake."""
    async with open_app(sockets_need_login=True) as (app, address):
        async with open_websocket(
            f"ws://{address}/ws", subprotocols=[Subprotocol(each) for each in offered], proxy=None
        ) as websocket:
            await websocket.wait_closed()
            assert (websocket.close_code, websocket.close_reason) == (4503, "log in first")
            assert websocket.response is not None
            assert "Set-Cookie" not in websocket.response.headers
        assert await app.ctx.sessions.everybody() == {}
        async with RawClient.connect(address, cookie=await logged_in(app, "ann")) as ann:
            assert await ann.join("sheet/a")


async def test_where_sockets_need_a_login_a_browser_learns_it_by_a_close_code(
    open_app: OpenApp,
) -> None:
    async with open_app(ROOMS, [blueprint], sockets_need_login=True) as site:
        assert await close_code_of(site.address) == 4503
        async with site.http() as http:
            assert (await http.post("/visit")).status_code == 200
            assert await close_code_of(site.address, cookie_of(http)) == 4503
        assert await close_code_of(site.address, await logged_in(site.app, "ann")) == 0


async def test_a_browser_whose_token_was_replaced_is_told_to_come_again(site: Site) -> None:
    sent = await site.log_in("ann")
    record = await site.app.ctx.sessions.load(sent.partition("=")[2])
    await site.app.ctx.sessions.rotate(record)
    assert await close_code_of(site.address, sent) == 4001


async def test_over_http_one_learns_what_a_handshake_would_be_answered(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(connections_per_session=1) as site, site.http() as http:
        assert (await http.post("/ws")).status_code == 204
        async with RawClient.connect(site.address, cookie=cookie_of(http)):
            assert (await http.post("/ws")).status_code == 429
        await until(lambda: not site.app.ctx.connections)
        assert (await http.post("/ws")).status_code == 204
        site.app.ctx.hub.draining = True
        assert (await http.post("/ws")).status_code == 503


async def test_without_its_store_a_handshake_is_503(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StoreUnavailable("away")

    async with open_app() as (app, address):
        cookie = await logged_in(app, "ann")
        monkeypatch.setattr(app.ctx.sessions, "find", away)
        answer = await refusal_of(address, cookie=cookie)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.slow
async def test_of_the_handshake_nothing_is_kept(open_app: OpenApp) -> None:
    def kept() -> int:
        gc.collect()
        return sum(isinstance(each, HttpProtocol | Request) for each in gc.get_objects())

    async with (
        open_app() as (_, address),
        RawClient.connect(address),
    ):  # opens connections to a store
        before = kept()
        async with RawClient.connect(address) as one, RawClient.connect(address) as two:
            await until(lambda: kept() <= before)
            await one.join("sheet/a")
            await two.join("sheet/a")
            assert await one.call("sheet/a", "add") == 1


async def test_a_handshake_with_a_body_is_refused(address: str) -> None:
    headers = {"Content-Length": "3"}
    with pytest.raises(InvalidStatus) as refused:
        async with open_websocket(
            f"ws://{address}/ws",
            subprotocols=[Subprotocol("gospa.v1")],
            additional_headers=headers,
        ):
            pass
    assert refused.value.response.status_code == 400


@pytest.mark.parametrize("path", ["/ws/", "/ws//", "//ws", "/ws/.", "/WS", "/%77s", "/ws%2F"])
async def test_the_path_of_sockets_has_one_spelling(address: str, path: str) -> None:
    head = wire.HEAD.format(address).replace("/ws", path).replace(": Upgrade", ": Upgrade, close")
    assert not (await answer_to(address, head)).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("length", ["0", "00"])
async def test_a_body_of_no_bytes_is_none(address: str, length: str) -> None:
    """Some devices send its length: https://github.com/python-websockets/websockets/issues/1616"""
    headers: Any = {"Content-Length": length}
    async with RawClient.connect(address, **headers) as member:
        await member.join("sheet/a")


async def test_a_body_in_chunks_is_one_even_if_it_is_empty(address: str) -> None:
    head = wire.HEAD.format(address).replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = await answer_to(address, head + "0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_no_handshake_is_told_how_to_and_gets_no_session(
    address: str, method: str
) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.request(method, f"http://{address}/ws")
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("version", ["8", "12", "x", "130"])
async def test_another_version_of_the_protocol_is_told_ours(address: str, version: str) -> None:
    """https://www.rfc-editor.org/rfc/rfc6455#section-4.4"""
    head = wire.HEAD.format(address).replace("Version: 13", f"Version: {version}")
    head = head.replace("Connection: Upgrade", "Connection: Upgrade, close")
    answer = (await answer_to(address, head)).lower()
    assert answer.startswith(b"http/1.1 426 ")
    assert b"\r\nsec-websocket-version: 13\r\n" in answer
    assert b"\r\nupgrade: websocket\r\n" in answer


async def test_who_goes_during_the_handshake_leaves_nothing_behind(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start, came, gone = cookie.start_session, asyncio.Event(), asyncio.Event()

    async def outlast_the_client(request: Request) -> tuple[Session, str | None]:
        started = await start(request)
        came.set()
        with contextlib.suppress(asyncio.CancelledError):  # a library may do so
            await until(lambda: bool(request.conn_info and request.conn_info.lost))
        gone.set()
        return started

    monkeypatch.setattr(cookie, "start_session", outlast_the_client)
    async with open_app() as (app, address), asyncio.timeout(40):
        _, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(wire.HEAD.format(address).encode())
        await came.wait()
        writer.transport.abort()
        await gone.wait()
        assert not app.ctx.connections
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def answer_to(address: str, sent: str) -> bytes:
    """All that comes back for the text of requests, up to the end of the connection."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent.encode("latin-1"))
    async with asyncio.timeout(40):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("name", ["Cookie", "X-Name"])
@pytest.mark.parametrize("value", ["session=\xe9", "\x01"])
async def test_strange_bytes_in_other_headers_harm_no_handshake(
    address: str, name: str, value: str
) -> None:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = wire.HEAD.format(address).replace("\r\n\r\n", f"\r\n{name}: {value}\r\n\r\n")
    writer.write(head.encode("latin-1"))
    assert b" 101 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key: ", "Sec-WebSocket-Version: ", "Connection: "])
async def test_strange_bytes_in_its_own_headers_are_a_bad_handshake(
    address: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = wire.HEAD.format(address).replace(name, name + "\xff")
    answer = await answer_to(address, head.replace("Upgrade\r\n", "Upgrade, close\r\n"))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 "))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("upgrade", ["WebSocket", "websocket ", ",websocket"])
async def test_an_upgrade_may_be_written_in_other_ways(
    address: str, upgrade: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = wire.HEAD.format(address).replace("Upgrade: websocket", f"Upgrade: {upgrade}")
    answer = await answer_to(address, head + wire.frame(wire.CLOSE).decode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_who_reads_no_answers_opens_no_socket(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, start, asked = Blueprint("large"), cookie.start_session, asyncio.Event()

    async def tell(request: Request) -> tuple[Session, str | None]:
        started = await start(request)
        asked.set()
        return started

    @view.get("/large")
    async def large(_: Request) -> HTTPResponse:
        return raw(bytes(2**24))

    monkeypatch.setattr(cookie, "start_session", tell)
    async with open_app(views=[view]) as (app, address), asyncio.timeout(40):
        reader, writer = await asyncio.open_connection(*address.split(":"))
        transport: Any = writer.transport
        transport.pause_reading()
        writer.write(f"GET /large HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        writer.write(wire.HEAD.format(address).encode())
        await asked.wait()
        assert not app.ctx.connections
        transport.resume_reading()
        assert b" 101 " not in (await reader.read())[-1000:]
        writer.close()


async def test_a_handshake_that_outlasts_its_worker_opens_no_socket(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = cookie.start_session

    async def outlast_the_hub(request: Request) -> tuple[Session, str | None]:
        started = await start(request)
        await request.app.ctx.hub.drain()
        return started

    monkeypatch.setattr(cookie, "start_session", outlast_the_hub)
    async with open_app() as (app, address):
        assert await answer_to(address, wire.HEAD.format(address)) == b""
        assert not app.ctx.connections


async def test_a_proxy_may_come_through_a_unix_socket(settings: Settings) -> None:
    app = create_app("unix", chosen.BACKENDS, ROOMS, settings)
    with tempfile.TemporaryDirectory() as folder:  # pytest's have names too long for a socket
        path = f"{folder}/socket"
        async with serve(app, unix=path), asyncio.timeout(40):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(wire.HEAD.format("localhost").encode() + wire.frame(wire.CLOSE))
            assert b" 101 " in await reader.read()
            writer.close()


async def test_pages_of_the_same_origin_are_let_in(address: str) -> None:
    async with RawClient.connect(address, Origin=f"http://{address}") as member:
        await member.join("sheet/a")
