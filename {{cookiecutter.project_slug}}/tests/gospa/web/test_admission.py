"""What of HTTP requests is too much, and that nobody else is refused for it."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sanic import Blueprint, HTTPResponse, Request
from sanic.exceptions import SanicException
from sanic.response import json, text

from gospa import rates, trouble
from gospa.settings import Settings
from gospa.stats import Stats
from gospa.testing import OpenApp, Site, until
from gospa.web.admission import BODIES, RequestLimits, stream_body
from tests.gospa.rooms import ROOMS
from tests.gospa.web.wires import OpenWire

LIMIT = 4096
CHUNK = b"1000\r\n" + bytes(4096) + b"\r\n"

blueprint = Blueprint("bodies")


@blueprint.post("/whole")
async def whole(request: Request) -> HTTPResponse:
    return text(str(len(request.body)))


@blueprint.post("/stream", stream=True)
async def stream(request: Request) -> HTTPResponse:
    received = 0
    async for piece in request.stream:  # type: ignore[union-attr]
        received += len(piece)
    return text(str(received))


@blueprint.post("/file", stream=True)
async def file(request: Request) -> HTTPResponse:
    received = 0
    async for piece in stream_body(request, size=10 * LIMIT, timeout=0.5):
        received += len(piece)
    return text(str(received))


@blueprint.post("/form")
async def form(request: Request) -> HTTPResponse:
    return json({"fields": request.form, "files": list(request.files or ())})


@blueprint.get("/page")
async def page(_: Request) -> HTTPResponse:
    return text("page")


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app(ROOMS, [blueprint], body_size=LIMIT, form_fields=3) as site:
        yield site


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of refusals, and what Sanic calls an error."""
    told = [(each, each.getMessage()) for each in caplog.records if each.levelno > logging.INFO]
    return [text for each, text in told if each.name == "sanic.error" or "was refused: " in text]


async def test_a_body_up_to_the_limit_is_taken(http: httpx.AsyncClient) -> None:
    assert (await http.post("/whole", content=bytes(LIMIT))).text == str(LIMIT)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(LIMIT):
            yield b"a"

    assert (await http.post("/whole", content=pieces())).text == str(LIMIT)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/whole", "/form", "/nothing", "/page", "/ws"])
async def test_a_larger_body_is_refused_before_it_is_sent(
    site: Site, open_wire: OpenWire, stats: Stats, path: str
) -> None:
    wire = await open_wire(site)
    wire.ask(path, f"Content-Length: {LIMIT + 1}", "Expect: 100-continue")
    assert await wire.status() == 413  # and not 100
    assert stats.of("request_size") == 1
    assert await wire.ended()


@pytest.mark.slow
async def test_a_larger_body_without_its_length_is_refused_at_the_limit(
    site: Site, open_wire: OpenWire, stats: Stats
) -> None:
    wire = await open_wire(site)
    wire.ask("/whole", "Transfer-Encoding: chunked", body=CHUNK + CHUNK)
    assert await wire.status() == 413
    assert stats.of("request_size") == 1
    assert await wire.ended()


async def test_who_is_still_sending_gets_the_refusal_as_well(
    site: Site, open_wire: OpenWire
) -> None:
    wire = await open_wire(site)
    wire.ask("/whole", "Content-Length: 20000000", body=bytes(20_000_000))
    assert await wire.status() == 413


async def test_a_route_that_streams_limits_its_body_itself(http: httpx.AsyncClient) -> None:
    assert (await http.post("/stream", content=bytes(100 * LIMIT))).text == str(100 * LIMIT)


@pytest.mark.slow
async def test_a_route_that_streams_may_have_limits_of_its_own(
    site: Site, http: httpx.AsyncClient, open_wire: OpenWire, stats: Stats
) -> None:
    assert (await http.post("/file", content=bytes(10 * LIMIT))).text == str(10 * LIMIT)
    known, unknown, slow = [await open_wire(site) for _ in range(3)]
    known.ask("/file", f"Content-Length: {10 * LIMIT + 1}", "Expect: 100-continue")
    assert await known.status() == 413
    unknown.ask("/file", "Transfer-Encoding: chunked", body=CHUNK * 11)
    assert await unknown.status() == 413
    slow.ask("/file", "Content-Length: 10", body=b"a")
    assert await slow.status() == 408
    for wire in (known, unknown, slow):
        assert await wire.ended()
    assert (stats.of("request_size"), stats.of("request_time")) == (2, 1)


@pytest.mark.parametrize(
    "sent",
    [
        (b"a=1&b=2&c=3", "application/x-www-form-urlencoded", 200),
        (b"a=1&b=2&c=3&d=4", "application/x-www-form-urlencoded", 413),
        (b"a=\xff", "application/x-www-form-urlencoded", 400),
        (b"a", "multipart/form-data; boundary=", 400),
        (b"--x--x--x--x--x", "multipart/form-data; boundary=x", 413),
    ],
)
async def test_a_form_that_is_refused_fills_no_log(
    http: httpx.AsyncClient,
    stats: Stats,
    caplog: pytest.LogCaptureFixture,
    sent: tuple[bytes, str, int],
) -> None:
    content, kind, status = sent
    for _ in range(3):
        answer = await http.post("/form", content=content, headers={"Content-Type": kind})
        assert answer.status_code == status
    assert stats.of("request_form") == (0 if status == 200 else 3)
    assert len(warnings(caplog)) == (status != 200)  # one for all of them


@pytest.mark.parametrize("body", [b"a", bytes(LIMIT)])
async def test_a_body_where_none_is_expected_fills_no_log_and_is_not_a_request(
    site: Site, open_wire: OpenWire, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    wire = await open_wire(site)
    wire.ask("/page", f"Content-Length: {len(body)}", method="GET", body=body)
    wire.ask("/nothing", method="GET")
    assert [await wire.status(), await wire.status()] == [200, 404]
    assert not warnings(caplog)


# A rate for each address


async def test_an_address_that_asks_too_often_is_told_when_to_come_back(
    open_app: OpenApp, open_wire: OpenWire, stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app(ROOMS, [blueprint], requests_per_second=0.1) as site:
        caplog.clear()
        ann, bob = await open_wire(site), await open_wire(site, "127.0.0.2")
        statuses = []
        for _ in range(10):
            ann.ask("/page", method="GET")
            statuses.append(await ann.status())
        assert statuses == [200] * 3 + [429] * 7
        async with site.http() as client:
            answer = await client.get("/page")
        assert 0 < int(answer.headers["retry-after"]) <= 10
        assert stats.of("request_rate") == 8
        (line,) = warnings(caplog)
        assert "127.0.0.1" in line
        assert "GOSPA_REQUESTS_PER_SECOND" in line
        bob.ask("/page", method="GET")
        assert await bob.status() == 200


async def test_requests_that_are_refused_for_their_size_count_as_well(
    open_app: OpenApp, open_wire: OpenWire
) -> None:
    async with open_app(ROOMS, [blueprint], requests_per_second=0.1, body_size=1024) as site:
        statuses = []
        for _ in range(6):
            wire = await open_wire(site)
            wire.ask("/whole", "Content-Length: 1025")
            statuses.append(await wire.status())
    assert statuses[0] == 413
    assert 429 in statuses


async def test_behind_a_known_proxy_visitors_count_and_not_the_proxy(open_app: OpenApp) -> None:
    async with open_app(ROOMS, [blueprint], requests_per_second=0.1) as site:
        site.app.config.PROXIES_COUNT = 1
        async with site.http() as client:

            async def ask(address: str) -> int:
                answer = await client.get("/page", headers={"X-Forwarded-For": address})
                return answer.status_code

            for place in ("192.0.2.{}", "2001:db8:0:{}::1"):
                addresses = [place.format(number) for number in range(20)]
                assert {await ask(address) for address in addresses} == {200}
            neighbours = [f"2001:db8:1:1::{number:x}" for number in range(20)]
            assert [await ask(address) for address in neighbours] == [200] * 3 + [429] * 17


class Asked:
    """A request, as far as limits look at it."""

    def __init__(self, address: str, size: int = 0, *, operators: bool = False) -> None:
        self.client_ip = address
        self.stream: Any = self
        self.protocol: Any = self
        self.operators = operators
        self.request_body, self.request_bytes = size > 0, size
        self.limit_body = lambda *_: None
        self.headers: dict[str, str] = {}
        self.path, self.method, self.app, self.router = "/", "POST", self, self

    def get(self, *_: Any) -> tuple[None, Any, None]:
        return None, whole, None


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds."""
    time = [0.0]
    for module in (rates, trouble):
        monkeypatch.setattr(module, "monotonic", lambda: time[0])
    return time


def admitted(limits: RequestLimits, count: int, size: int = 0, address: str = "192.0.2.1") -> int:
    """How many of so many requests are admitted."""
    taken = count
    request: Any = Asked(address, size)
    for _ in range(count):
        try:
            limits.admit(request)
        except SanicException:
            taken -= 1
    return taken


def test_three_hundred_visitors_behind_one_address_load_a_page_at_once(now: list[float]) -> None:
    limits = RequestLimits(Settings())
    assert admitted(limits, 300 * 30) == 300 * 30
    now[0] += 60
    for _ in range(60):  # and each asks once a second from then on
        now[0] += 1
        assert admitted(limits, 300) == 300


def test_three_hundred_visitors_behind_one_address_send_a_form_at_once(now: list[float]) -> None:
    assert admitted(RequestLimits(Settings()), 300, size=200_000) == 300


def test_large_bodies_count_as_several_requests(now: list[float]) -> None:
    limits = RequestLimits(Settings(requests_per_second=10))
    assert admitted(limits, 1000, size=32 * 1024) == 60
    assert admitted(limits, 1000, address="192.0.2.2") == 300


def test_a_body_is_taken_however_low_the_rate_is(now: list[float]) -> None:
    limits = RequestLimits(Settings(requests_per_second=0.1))
    assert admitted(limits, 2, size=256 * 1024) == 1
    now[0] += 30
    assert admitted(limits, 2, size=256 * 1024) == 1


def test_clients_of_a_unix_socket_and_operators_are_not_limited(now: list[float]) -> None:
    limits = RequestLimits(Settings(requests_per_second=1))
    assert admitted(limits, 1000, address="") == 1000
    for _ in range(1000):
        request: Any = Asked("192.0.2.1", operators=True)
        limits.admit(request)


def test_unfinished_bodies_of_an_address_are_bounded_and_of_others_are_taken() -> None:
    settings = Settings()
    limits = RequestLimits(settings)
    largest: Any = Asked("192.0.2.1", settings.body_size)
    other: Any = Asked("192.0.2.2", settings.body_size)
    arriving = [limits.arriving(largest) for _ in range(BODIES + 1)]
    for each in arriving[:BODIES]:
        each.__enter__()
    with pytest.raises(SanicException) as refusal, arriving[BODIES]:
        pass
    assert refusal.value.status_code == 429
    with limits.arriving(other):
        pass
    arriving[0].__exit__(None, None, None)
    with limits.arriving(largest):
        pass


async def test_what_waits_for_bodies_is_released_when_they_are_there(
    site: Site, open_wire: OpenWire
) -> None:
    limits: RequestLimits = site.app.ctx.request_limits
    wires = [await open_wire(site) for _ in range(BODIES)]
    for wire in wires:
        wire.ask("/whole", f"Content-Length: {LIMIT}")
    await until(lambda: limits.unfinished.total() == BODIES * LIMIT)
    for source, status in {"127.0.0.1": 429, "127.0.0.2": 200}.items():
        late = await open_wire(site, source)
        late.ask("/whole", "Content-Length: 1", body=b"a")
        assert await late.status() == status
    for wire in wires[1:]:
        wire.writer.write(bytes(LIMIT))
        assert await wire.status() == 200
    wires[0].writer.transport.abort()
    await until(lambda: not limits.unfinished)


def test_refusals_are_logged_once_a_minute_for_each_reason(
    now: list[float], caplog: pytest.LogCaptureFixture, stats: Stats
) -> None:
    limits = RequestLimits(Settings(requests_per_second=1))
    admitted(limits, 1000)
    admitted(limits, 1000)
    assert len(warnings(caplog)) == 1
    now[0] += 61
    admitted(limits, 1000)
    assert len(warnings(caplog)) == 2
    assert stats.of("request_rate") == 3000 - 30 - 30
