"""A thousand clients while the server is replaced under them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from gospa.settings import Settings
from gospa.testing import until
from tests.gospa.fleet.crowd import Visitor
from tests.gospa.process.server import STOP_TIMEOUT, Server, launch
from tests.gospa.raw_client import RawClient
from tests.gospa.serving import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CLIENTS = 1000
PATIENCE = 180  # seconds, for all of them
ROOMS = [f"sheet/{number}" for number in range(250)]
ONE_ADDRESS = {  # has them all
    "GOSPA_CONNECTIONS_PER_ADDRESS": str(2 * CLIENTS),
    "GOSPA_HANDSHAKES_PER_SECOND": str(CLIENTS),
}


@asynccontextmanager
async def crowd(server: Server) -> AsyncIterator[list[Visitor]]:
    """Clients who are all in their rooms at first, and have all their answers at the end."""
    visitors = [Visitor(ROOMS[number % len(ROOMS)]) for number in range(CLIENTS)]
    for visitor in visitors:
        visitor.address = server.address
    tasks = [asyncio.create_task(visitor.run()) for visitor in visitors]
    try:
        await until(lambda: all(visitor.joined for visitor in visitors), PATIENCE)
        yield visitors
        for visitor in visitors:
            visitor.may_stop = True
        await until(lambda: not any(visitor.waits for visitor in visitors), PATIENCE)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def assert_nothing_lost_or_doubled(server: Server, visitors: list[Visitor]) -> None:
    acknowledged = Counter[str]()
    for visitor in visitors:
        acknowledged[visitor.room] += visitor.done
    async with RawClient.connect(server.address) as member:
        counts = {}
        for room in ROOMS:
            counts[room] = (await member.join(room))["count"]
            await member.send(1, room)
    assert counts == acknowledged


def assert_spread(visitors: list[Visitor]) -> None:
    """All were asked to come back, over two seconds and not in the same moment."""
    assert all(visitor.delays for visitor in visitors)
    spans = Counter(visitor.delays[0] // 100 for visitor in visitors)
    assert max(spans.values()) < CLIENTS / 5


async def test_a_rolling_restart(settings: Settings, tmp_path: Path) -> None:
    inspector = free_port()
    environment = {
        **ONE_ADDRESS,
        "SANIC_INSPECTOR": "true",
        "SANIC_INSPECTOR_PORT": str(inspector),
    }
    with launch(settings, tmp_path, "--workers=2", env=environment) as server:
        await server.ready()
        before = await server.pids(2)
        async with crowd(server) as visitors:
            async with httpx.AsyncClient() as client:
                url = f"http://localhost:{inspector}/reload"
                await client.post(url, json={"zero_downtime": True})
            await until(lambda: all(visitor.delays for visitor in visitors), PATIENCE)
        assert_spread(visitors)

        async def replaced() -> bool:  # who said BYE takes a moment to end
            return before.isdisjoint(await server.pids(2))

        await until(replaced, PATIENCE)
        await assert_nothing_lost_or_doubled(server, visitors)
        server.assert_stops()
        assert "Traceback" not in server.log


async def test_one_server_stops_and_another_takes_over(settings: Settings, tmp_path: Path) -> None:
    with (
        launch(settings, tmp_path, "--workers=1", env=ONE_ADDRESS) as old,
        launch(settings, tmp_path, "--workers=1", env=ONE_ADDRESS) as new,
    ):
        await old.ready()
        await new.ready()
        async with crowd(old) as visitors:
            for visitor in visitors:
                visitor.address = new.address
                visitor.joined = False
            old.process.terminate()
            await until(lambda: all(visitor.joined for visitor in visitors), PATIENCE)
        assert await asyncio.to_thread(old.process.wait, STOP_TIMEOUT) == 0
        assert_spread(visitors)
        await assert_nothing_lost_or_doubled(new, visitors)
        assert "Traceback" not in old.log
