"""Rooms on several workers, and on several hosts."""

import asyncio
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gospa.settings import Settings
from tests.gospa.process.server import Server, launch, launch_ready
from tests.gospa.raw_client import RawClient

pytestmark = pytest.mark.slow

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with launch_ready(shared_settings, tmp_path_factory.mktemp("server"), "--workers=4") as server:
        yield server


@pytest.fixture
def room() -> str:
    """A room of this test's own."""
    return f"sheet/{next(_numbers)}"


async def test_a_call_on_one_worker_reaches_members_on_the_others(
    server: Server, room: str
) -> None:
    await server.pids(4)
    async with server.members(3) as members:
        for member in members:
            await member.join(room)
        note = await members[0].call(room, "add_note", text="milk")
        states = [await member.sees(room, lambda s: f"notes/{note}" in s) for member in members]
        assert states[0] == states[1] == states[2]
        assert len({member.heads[room] for member in members}) == 1


async def test_writers_on_all_workers_lose_nothing(server: Server, room: str) -> None:
    await server.pids(4)
    async with server.members(4) as members:
        for member in members:
            await member.join(room)
        await asyncio.gather(*(_one_after_another(member, room, 25) for member in members))
        states = [await member.sees(room, lambda s: s["count"] == 100) for member in members]
        assert all(state["count"] == 100 for state in states)


async def test_servers_with_nothing_in_common_but_the_store_behave_as_one(
    settings: Settings, tmp_path: Path, room: str
) -> None:
    with launch(settings, tmp_path) as one, launch(settings, tmp_path) as other:
        await one.ready()
        await other.ready()
        async with (
            RawClient.connect(one.address) as here,
            RawClient.connect(other.address) as there,
        ):
            members = here, there
            for member in members:
                await member.join(room)
            await asyncio.gather(*(_one_after_another(member, room, 20) for member in members))
            for member in members:
                await member.sees(room, lambda state: state["count"] == 40)
            assert here.heads[room] == there.heads[room]


async def _one_after_another(member: RawClient, room: str, times: int) -> None:
    for _ in range(times):
        await member.call(room, "add")


async def test_a_client_of_a_killed_worker_goes_on_elsewhere(server: Server, room: str) -> None:
    async with server.members(1) as (member,):
        await member.join(room)
        assert await member.call(room, "add", amount=5) == 5
        await member.sees(room, lambda state: state["count"] == 5)
        version, tag = member.heads[room]
        os.kill(member.pid, signal.SIGKILL)
        await member.websocket.wait_closed()
    async with RawClient.connect(
        server.address, client=member.client, cookie=member.cookie
    ) as again:
        await again.send(0, room, version, tag)
        assert (await again.receive())[:4] == [8, room, version, tag]
        await again.send(2, 1, room, "add", {"amount": 5})
        assert await again.answer(1) == [3, 1, version, None]


async def test_state_outlives_all_workers(server: Server, room: str) -> None:
    async with server.members(1) as (member,):
        await member.join(room)
        await member.call(room, "add", amount=7)
    for pid in await server.pids(4):
        os.kill(pid, signal.SIGKILL)
    await server.pids(4)
    async with RawClient.connect(server.address) as again:
        assert (await again.join(room))["count"] == 7


async def test_state_outlives_the_server(settings: Settings, tmp_path: Path, room: str) -> None:
    with launch(settings, tmp_path, "--workers=2") as server:
        await server.ready()
        async with server.members(1) as (member,):
            await member.join(room)
            await member.call(room, "add", amount=7)
        assert server.stop() == 0
    with launch(settings, tmp_path, "--workers=2") as server:
        await server.ready()
        async with server.members(2) as members:
            for member in members:
                assert (await member.join(room))["count"] == 7
