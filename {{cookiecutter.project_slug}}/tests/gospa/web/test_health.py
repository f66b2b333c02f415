import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from sanic import Sanic

from gospa.app import Backends, create_app
from gospa.errors import StoreError, StoreFull, StoreUnavailable, StoreUnreachable
from gospa.settings import Settings, SettingsError
from gospa.stats import Stats
from gospa.testing import OpenApp, serve, until
from gospa.web import health
from tests.gospa.raw_client import raw_client
from tests.gospa.serving import free_port
from tests.gospa.web.wires import OpenWire


@pytest.mark.parametrize("demo", [False, True])
async def test_a_worker_that_answers_is_live_and_is_named_in_a_demonstration_alone(
    open_app: OpenApp, *, demo: bool
) -> None:
    process = {"pid": os.getpid()} if demo else {}
    async with open_app(demo=demo) as site, site.http() as client:
        answer = await client.get("/health/live")
        assert (answer.status_code, answer.json()) == (200, {"status": "live", **process})
        report = (await client.get("/health/ready")).json()
        assert ("pid" in report) is demo
        async with raw_client(site) as member:
            assert ("pid" in member.welcome[3]) is demo


async def test_a_worker_that_hears_the_others_is_ready(address: str) -> None:
    async with httpx.AsyncClient() as client:

        async def ready() -> bool:
            return (await client.get(f"http://{address}/health/ready")).status_code == 200

        await until(ready)


class Store:
    """A store for whichever role, or the messages between workers."""

    def __init__(self, fault: StoreError | None) -> None:
        self.fault = fault

    async def check(self) -> None:
        if self.fault:
            raise self.fault


AWAY, CUT_OFF = StoreUnavailable("away"), StoreUnreachable("no way")


@pytest.mark.parametrize(
    ("faults", "status", "serves", "with_store"),
    [
        ({}, "ready", 200, 200),
        ({"draining": True}, "draining", 503, 503),
        ({"deaf": AWAY}, "not subscribed", 200, 503),
        ({"deaf": CUT_OFF}, "not subscribed", 503, 503),
        ({"deaf": None}, "not subscribed", 503, 503),
        ({"rooms": AWAY}, "without rooms", 200, 503),
        ({"rooms": CUT_OFF}, "without rooms", 503, 503),
        ({"sessions": StoreFull("full")}, "without sessions", 200, 503),
        ({"sessions": CUT_OFF}, "without sessions", 503, 503),
    ],
    ids=str,
)
async def test_a_host_that_alone_cannot_serve_is_not_ready_and_one_whose_store_fails_says_so(
    stats: Stats, faults: dict[str, Any], status: str, serves: int, with_store: int
) -> None:
    stats.loads_missed = 3
    hub = SimpleNamespace(
        subscribed="deaf" not in faults,
        draining="draining" in faults,
        pubsub=Store(faults.get("deaf")),
        check=Store(faults.get("rooms")).check,
    )
    for needs_store, expected in ((False, serves), (True, with_store)):
        settings = Settings(ready_needs_store=needs_store)
        context = SimpleNamespace(
            hub=hub, sessions=Store(faults.get("sessions")), settings=settings
        )
        request: Any = SimpleNamespace(app=SimpleNamespace(ctx=context))
        handler: Any = health.ready
        answer = await handler(request)
        assert answer.status == expected
        report = json.loads(answer.body or b"")
        assert report["status"] == status
        assert report["counters"]["loads_missed"] == 3


# A port for operators

SPELLINGS = [
    *("/health/live", "/health/ready", "/health/metrics", "/health/live/", "/health/live//"),
    *("//health/live", "/health//live", "/./health/live", "/x/../health/live", "/health/live?a"),
    *("/%68ealth/live", "/health%2flive", "/HEALTH/live", "/health/live;x", "/health/./live"),
    *("/health/", "/health", "http://a/health/live", "/health\\live", "/health/live%00"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
async def test_health_has_a_port_of_its_own_where_operators_want_it(
    open_app: OpenApp, open_wire: OpenWire, method: str
) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with open_app(health_address=address, requests_per_second=0.1) as site:
        operators = site._replace(address=address)
        for _ in range(2):  # without a limit
            async with operators.http() as client:
                for path in ("/health/live", "/health/ready", "/health/metrics"):
                    answer = await client.request(method, path)
                    expected = {"OPTIONS": 204, "POST": 405}.get(method, 200)
                    assert answer.status_code in (expected, 503)  # while it is not ready
                for path in ("/", "/ws", "/visit", "/gospa/gospa.js"):
                    assert (await client.request(method, path)).status_code == 404
    async with open_app(health_address=address) as site:
        wire = await open_wire(site)
        for path in SPELLINGS:
            wire.ask(path, method=method)
            assert await wire.status(to_head=method == "HEAD") == 404, path
    with pytest.raises(ConnectionRefusedError):  # it ends with the application
        await open_wire(operators)


async def test_while_a_worker_stops_operators_are_told(open_app: OpenApp) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with open_app(health_address=address) as site:
        site.app.ctx.hub.draining = True
        async with site._replace(address=address).http() as client:
            answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "draining")


@pytest.mark.parametrize("place", ["127.0.0.1:{}", "localhost:{}"])
def test_an_address_for_operators_that_is_taken_is_refused_at_start(place: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = place.format(other.getsockname()[1])
        with pytest.raises(SettingsError, match=f"GOSPA_HEALTH_ADDRESS={address} cannot be used"):
            health.check_address(address)
    health.check_address(address)
    health.check_address("")
    with pytest.raises(SettingsError, match=r"127\.0\.0\.1:99999 cannot be used"):
        health.check_address("127.0.0.1:99999")


async def test_operators_reach_a_worker_only_once_it_can_answer(
    settings: Settings, backends: Backends
) -> None:
    place = ("127.0.0.1", free_port())
    refused = list[bool]()

    @asynccontextmanager
    async def database(_app: Sanic) -> AsyncIterator[None]:
        try:
            _, writer = await asyncio.open_connection(*place)
            writer.close()
            refused.append(False)
        except ConnectionRefusedError:
            refused.append(True)
        yield

    own = msgspec.structs.replace(settings, health_address=f"{place[0]}:{place[1]}")
    app = create_app("starting", backends, [], own, resources=[database])
    async with serve(app), httpx.AsyncClient() as client:
        answer = await client.get(f"http://{own.health_address}/health/live")
    assert (refused, answer.status_code) == ([True], 200)
