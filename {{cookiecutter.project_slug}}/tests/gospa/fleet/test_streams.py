"""Event streams of several workers: any of them takes what a client sends."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import msgpack
import pytest

from gospa.settings import Settings
from gospa.testing import until
from tests.gospa.process.server import Server, launch
from tests.gospa.raw_client import RawClient
from tests.gospa.raw_stream import RawStream

pytestmark = pytest.mark.slow

WORKERS = 3


def stream_of(member: RawClient) -> RawStream:
    assert isinstance(member.websocket, RawStream)
    return member.websocket


async def worker_of(http: httpx.AsyncClient) -> int:
    """The worker that answers on a client's one connection."""
    return int((await http.get("/health/ready")).json()["pid"])


@asynccontextmanager
async def others(server: Server, pid: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """HTTP clients that are each connected to another worker, and none to that one."""
    async with AsyncExitStack() as opened:
        found: dict[int, httpx.AsyncClient] = {}

        async def enough() -> bool:
            limits = httpx.Limits(max_connections=1)
            http = httpx.AsyncClient(base_url=f"http://{server.address}", limits=limits)
            await opened.enter_async_context(http)
            found.setdefault(await worker_of(http), http)
            return len(found.keys() - {pid}) == WORKERS - 1

        await until(enough)
        yield [http for worker, http in found.items() if worker != pid]


async def test_any_worker_takes_what_a_client_of_a_stream_sends(
    settings: Settings, tmp_path: Path
) -> None:
    with launch(settings, tmp_path, f"--workers={WORKERS}") as server:
        await server.ready()
        async with (
            RawClient.connect(server.address, transport="stream") as member,
            RawClient.connect(server.address) as other,
        ):
            await other.join("sheet/a")
            await member.join("sheet/a")
            async with others(server, member.pid) as ways:
                for number in range(1, 21):
                    stream_of(member).use(ways[number % len(ways)])
                    await member.send(2, number, "sheet/a", "add", {})
                    assert (await member.answer(number))[3] == number
                for http in ways:
                    assert await worker_of(http) != member.pid
            for each in (member, other):
                await each.sees("sheet/a", lambda state: state["count"] == 20)


async def test_when_its_worker_dies_a_client_goes_on_at_another(
    settings: Settings, tmp_path: Path
) -> None:
    with launch(settings, tmp_path, f"--workers={WORKERS}") as server:
        await server.ready()
        async with RawClient.connect(server.address, transport="stream") as member:
            await member.join("sheet/a")
            stream = stream_of(member)
            async with others(server, member.pid) as ways:
                stream.use(ways[0])
                assert await member.call("sheet/a", "add") == 1
                cookie, client = member.cookie, member.client
                os.kill(member.pid, signal.SIGKILL)
                await stream.wait_closed()
                lost = msgpack.packb([2, 2, "sheet/a", "add", {}])
                assert await stream.post(stream.number + 1, lost) == 204  # nobody has the stream
        async with RawClient.connect(
            server.address, transport="stream", cookie=cookie, client=client
        ) as again:
            assert (await again.join("sheet/a", version=1))["count"] == 1
            assert await again.call("sheet/a", "add") is None  # number 1
            assert await again.call("sheet/a", "add") == 2
