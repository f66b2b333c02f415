"""Turns of pipelined requests, and requests that do not come to their end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import text

from gospa.stats import Stats
from gospa.testing import OpenApp, Site, until
from gospa.web.admission import SIX
from tests.gospa.raw_client import raw_client
from tests.gospa.rooms import ROOMS
from tests.gospa.web.wires import OpenWire, Wire, head

blueprint = Blueprint("turns")


@blueprint.get("/page")
async def page(_: Request) -> HTTPResponse:
    return text("page")


@blueprint.post("/whole")
async def whole(request: Request) -> HTTPResponse:
    return text(str(len(request.body)))


@blueprint.post("/form")
async def form(request: Request) -> HTTPResponse:
    return text(str(request.form))


@blueprint.post("/stream", stream=True)
async def stream(request: Request) -> HTTPResponse:
    request.app.ctx.received = 0
    async for piece in request.stream:  # type: ignore[union-attr]
        request.app.ctx.received += len(piece)
    return text("")


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app(ROOMS, [blueprint], request_timeout=0.5) as site:
        yield site


class Turns:
    """How often the event loop had turns for others since it was asked last."""

    def __init__(self) -> None:
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._count)

    def _count(self) -> None:
        self.count += 1
        self._handle = self._loop.call_soon(self._count)

    def stop(self) -> None:
        self._handle.cancel()


@pytest.fixture
async def turns() -> AsyncIterator[Turns]:
    counted = Turns()
    yield counted
    counted.stop()


PIPELINED = {
    "pages": head("/page", method="GET"),
    "pages that do not exist": head("/nothing", method="GET"),
    "handshakes": head("/ws", method="GET"),
    "metrics": head("/health/metrics", method="GET"),
    "bodies": head("/whole", "Content-Length: 1") + b"a",
    "forms that cannot be read": head(
        "/form", "Content-Length: 1", "Content-Type: multipart/form-data; boundary="
    )
    + b"a",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", PIPELINED)
async def test_others_have_turns_between_pipelined_requests(
    open_app: OpenApp, open_wire: OpenWire, turns: Turns, what: str
) -> None:
    async with open_app(ROOMS, [blueprint]) as site:
        wire = await open_wire(site)
        before = turns.count
        wire.writer.write(PIPELINED[what] * 1000)
        statuses = {await wire.status() for _ in range(1000)}
        assert len(statuses) == 1
        assert turns.count - before > 1000


async def test_others_have_turns_between_the_pieces_of_a_body(
    open_app: OpenApp, open_wire: OpenWire, turns: Turns
) -> None:
    async with open_app(ROOMS, [blueprint]) as site:
        wire = await open_wire(site)
        before = turns.count
        pieces = b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n"
        wire.ask("/whole", "Transfer-Encoding: chunked", body=pieces)
        assert await wire.status() == 200
        assert turns.count - before > 10_000 / 64


async def trickle(wire: Wire, data: bytes) -> None:
    """Send a byte now and then, as long as the server takes it."""
    for byte in data:
        wire.writer.write(bytes([byte]))
        await asyncio.sleep(0.01)


SLOW = {
    "headers": (b"GET /page HTTP/1.1\r\n", b"X: " + b"a" * 4000, 408),
    "a body": (head("/whole", "Content-Length: 4000"), b"a" * 4000, 408),
    "chunks": (head("/whole", "Transfer-Encoding: chunked"), b"1\r\na\r\n" * 4000, 408),
    "a body for no route": (head("/nothing", "Content-Length: 4000"), b"a" * 4000, 404),
    "a body for a page": (head("/page", "Content-Length: 4000", method="GET"), b"a" * 4000, 200),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", SLOW)
async def test_a_byte_now_and_then_holds_no_connection(
    site: Site, open_wire: OpenWire, what: str
) -> None:
    first, rest, status = SLOW[what]
    wire = await open_wire(site)
    wire.writer.write(first)
    sending = asyncio.ensure_future(trickle(wire, rest))
    try:
        assert await wire.status() == status
        assert await wire.ended()
    finally:
        sending.cancel()


async def test_a_slow_body_is_counted(site: Site, open_wire: OpenWire, stats: Stats) -> None:
    wire = await open_wire(site)
    wire.ask("/whole", "Content-Length: 10", body=b"a")
    assert await wire.status() == 408
    assert stats.of("request_time") == 1


@pytest.mark.slow
async def test_time_begins_again_with_each_request(site: Site, open_wire: OpenWire) -> None:
    wire, loop = await open_wire(site), asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + 1:  # twice the time of one
        wire.ask("/page", method="GET")
        assert await wire.status() == 200
        wire.ask("/whole", "Content-Length: 1", body=b"a")
        assert await wire.status() == 200


@pytest.mark.slow
async def test_a_route_that_streams_limits_its_time_itself(site: Site, open_wire: OpenWire) -> None:
    wire, loop = await open_wire(site), asyncio.get_running_loop()
    wire.ask("/stream", "Transfer-Encoding: chunked")
    began = loop.time()
    while loop.time() < began + 1:
        wire.writer.write(b"1\r\na\r\n")
        await asyncio.sleep(0.05)
    wire.writer.write(b"0\r\n\r\n")
    assert await wire.status() == 200


@pytest.mark.parametrize(
    "headers", [["X: " + "a" * 9000], ["a:"] * 3000], ids=["a long one", "many"]
)
async def test_headers_are_bounded(site: Site, open_wire: OpenWire, headers: list[str]) -> None:
    wire = await open_wire(site)
    wire.ask("/page", *headers, method="GET")
    assert await wire.status() == 413
    assert await wire.ended()


async def reaches(open_wire: OpenWire, site: Site, source: str = "127.0.0.1") -> bool:
    """Whether a client at this address of this machine is answered."""
    wire = await open_wire(site, source)
    try:
        wire.ask("/page", method="GET")
        return await wire.status() == 200
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


async def test_idle_connections_of_one_address_leave_room_for_others(
    open_app: OpenApp, open_wire: OpenWire, stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app(ROOMS, [blueprint], connections_per_address=1) as site:
        idle = [await open_wire(site) for _ in range(SIX)]
        assert not await reaches(open_wire, site)
        assert await reaches(open_wire, site, "127.0.0.2")
        assert stats.of("connections_of_address") == 1
        assert "127.0.0.1 has too many connections" in caplog.text
        idle[0].writer.close()
        await until(lambda: reaches(open_wire, site))


async def test_a_socket_does_not_count_as_a_connection_for_requests(
    open_app: OpenApp, open_wire: OpenWire
) -> None:
    opening = open_app(ROOMS, [blueprint], connections_per_address=1)
    async with opening as site, raw_client(site):
        for _ in range(SIX - 1):
            await open_wire(site)
        await until(lambda: reaches(open_wire, site))


@pytest.mark.parametrize(
    "config", [{"PROXIES_COUNT": 1}, {"REAL_IP_HEADER": "x-real-ip"}, {"FORWARDED_SECRET": "x"}]
)
async def test_connections_of_a_proxy_are_not_limited(
    open_app: OpenApp, open_wire: OpenWire, config: dict[str, Any]
) -> None:
    async with open_app(ROOMS, [blueprint], connections_per_address=1) as site:
        site.app.config.update(config)
        for _ in range(SIX):
            await open_wire(site)
        assert await reaches(open_wire, site)


async def test_an_answer_that_ends_the_connection_says_so(site: Site, open_wire: OpenWire) -> None:
    """Else a proxy would send the next request, of another client, over it."""
    wire = await open_wire(site)
    size = site.app.ctx.settings.body_size + 1
    wire.ask("/whole", f"Content-Length: {size}", body=bytes(size))
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in head.lower()


@pytest.mark.parametrize(
    "line",
    ["CONNECT a:1", "GET ://", "GET http://", "GET a:1", "GET http://[x/", "GET http://a:999999/"],
)
async def test_a_target_that_is_none_is_refused_in_few_words(
    site: Site, open_wire: OpenWire, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    wire = await open_wire(site)
    wire.writer.write(f"{line} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert await wire.status() == 400
    assert "Traceback" not in caplog.text
    assert "uncaught" not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Host: a", "Host: b"],
        ["Host: a", "Content-Length : 5"],
        ["Host: a", "Transfer-Encoding\t: chunked"],
        ["Host: a", " X: folded"],
        ["Host: a", ": no name"],
        ["Host: a", "X: b\nContent-Length: 5"],
        ["Host: a", "X: b\rContent-Length: 5"],
        ["Host: a", "X: b\0"],
        ["Host: a", "X\u00e9: b"],
        ["Host: a", "Content-Length: \v0"],
        ["Host: a", "Content-Length: \u0660"],
        ["Host: a", "Transfer-Encoding: \vchunked"],
        ["Host: a", "transfer-encoding: \u0085chunked"],
        ["Host: a", "Transfer-Encoding: gzip, chunked"],
    ],
    ids=str,
)
async def test_headers_that_proxies_may_read_in_another_way_are_refused(
    site: Site, open_wire: OpenWire, headers: list[str]
) -> None:
    wire = await open_wire(site)
    wire.writer.write("\r\n".join(["GET /page HTTP/1.1", *headers, "", ""]).encode())
    assert await wire.status() == 400
    assert await wire.ended()


@pytest.mark.parametrize(
    "chunks",
    [
        b"0x1\r\na\r\n0\r\n\r\n",
        b"\xd9\xa1\r\na\r\n0\r\n\r\n",
        b"1;\n\r\na\r\n0\r\n\r\n",
        b"1\r\naXX0\r\n\r\n",
    ],
)
async def test_chunks_that_proxies_may_read_in_another_way_are_refused(
    site: Site, open_wire: OpenWire, chunks: bytes
) -> None:
    wire = await open_wire(site)
    wire.ask("/whole", "Transfer-Encoding: chunked", body=chunks)
    assert await wire.status() == 400
    assert await wire.ended()


async def test_a_body_in_chunks_is_read_as_the_standard_has_it(
    site: Site, open_wire: OpenWire
) -> None:
    wire = await open_wire(site)
    wire.ask("/whole", "Transfer-Encoding:chunked", "Expect: 100-continue")
    assert await wire.status() == 100
    for piece in (b"a", b" ;b=c\r", b"\n" + b"x" * 10, b"\r\n1\r\nx\r\n0\r\n\r\n"):
        wire.writer.write(piece)
    assert await wire.status() == 200
    wire.ask("/whole", "Content-Length:  1 ", body=b"a")
    assert await wire.status() == 200


async def test_http_1_0_has_no_chunks(site: Site, open_wire: OpenWire) -> None:
    wire = await open_wire(site)
    headers = b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire.writer.write(b"POST /whole HTTP/1.0\r\n" + headers + b"0\r\n\r\n")
    assert await wire.status() == 400
    assert await wire.ended()


async def test_http_1_0_needs_no_host(site: Site, open_wire: OpenWire) -> None:
    wire = await open_wire(site)
    wire.writer.write(b"GET /page HTTP/1.0\r\n\r\n")
    assert await wire.status() == 200
