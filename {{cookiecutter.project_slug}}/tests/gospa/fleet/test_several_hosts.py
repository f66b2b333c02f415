"""Servers of their own, as on several hosts, with nothing in common but the store."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest

from gospa.settings import Settings
from gospa.testing import Refused, until
from tests.gospa.fleet.network import Host
from tests.gospa.process.server import Server, launch
from tests.gospa.raw_client import RawClient
from tests.gospa.redis_servers import PERSISTENT, RedisServer

pytestmark = pytest.mark.slow

ROOM = "sheet/a"


async def _change_together(here: RawClient, there: RawClient, times: int) -> None:
    """Both change a room that they are new to, and see all that the other does."""
    members = here, there
    for member in members:
        await member.join(ROOM)
    await asyncio.gather(*(_add(member, times) for member in members))
    await _see(members, 2 * times)


async def _add(member: RawClient, times: int) -> None:
    """Change it so often, each time until that is acknowledged."""
    for _ in range(times):
        member.number += 1
        acknowledged = False
        while not acknowledged:
            await member.send(2, member.number, ROOM, "add", {})
            try:
                acknowledged = bool(await member.answer(member.number))
            except Refused as refusal:
                assert refusal.code == "unavailable"  # noqa: PT017


async def _see(members: tuple[RawClient, RawClient], count: int) -> None:
    for member in members:
        await member.sees(ROOM, lambda state: state["count"] == count)
    assert members[0].heads[ROOM] == members[1].heads[ROOM]


@dataclass(frozen=True, slots=True)
class Networks:
    """Two hosts for servers, each linked to one with the clients and to one with the store."""

    clients: Host
    store: Host
    hosts: tuple[Host, Host]


@pytest.fixture
def networks() -> Iterator[Networks]:
    with ExitStack() as stack:
        clients, store, one, other = (stack.enter_context(closing(Host())) for _ in range(4))
        for number, host in enumerate((one, other)):
            clients.link(host, f"client{number}", f"10.0.{number}")
            store.link(host, f"store{number}", f"10.1.{number}")
        yield Networks(clients, store, (one, other))


@pytest.fixture
async def apart(
    settings: Settings, networks: Networks, tmp_path: Path
) -> AsyncIterator[tuple[Server, Server]]:
    """A server on each host; the test is where the clients are."""
    server = RedisServer(tmp_path, *PERSISTENT, "--protected-mode", "no", bind="*")
    with ExitStack() as stack:
        with networks.store.inside():
            stack.callback(server.kill)
            await server.start()
            await server.client.aclose()
        servers = []
        for number, host in enumerate(networks.hosts):
            url = f"redis://10.1.{number}.1:{server.port}"
            directory = tmp_path / f"host-{number}"
            directory.mkdir()
            with host.inside():
                own = msgspec.structs.replace(settings, redis_url=url)
                launched = launch(own, directory, host=f"10.0.{number}.2")
                servers.append(stack.enter_context(launched))
        stack.enter_context(networks.clients.inside())
        one, other = [await server.ready() for server in servers]
        yield one, other


async def test_one_that_is_cut_off_from_the_store_says_so_and_catches_up(
    networks: Networks, apart: tuple[Server, Server]
) -> None:
    one, other = apart

    async def one_is(status: str) -> None:
        async def is_so() -> bool:
            with suppress(httpx.TransportError):
                return bool((await one.report())["status"] == status)
            return False

        await until(is_so)

    async with RawClient.connect(one.address) as here, RawClient.connect(other.address) as there:
        await _change_together(here, there, 10)
        async with asyncio.TaskGroup() as under_way:
            with networks.store.cut("store0"):
                under_way.create_task(_add(here, 1))
                await one_is("not subscribed")
                assert (await other.report())["status"] == "ready"
                await _add(there, 10)
        await _see((here, there), 31)
        await one_is("ready")
        await asyncio.gather(_add(here, 10), _add(there, 10))
        await _see((here, there), 51)
