"""Rooms on several workers, and on several hosts."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gospa.settings import Settings
from gospa.testing import Member
from tests.gospa.process.server import Server, launch

pytestmark = pytest.mark.slow

ROOM = "sheet/a"


@pytest.fixture
async def server(settings: Settings, tmp_path: Path) -> AsyncIterator[Server]:
    with launch(settings, tmp_path, "--workers=4") as server:
        yield await server.ready()


async def test_a_call_on_one_worker_reaches_members_on_the_others(server: Server) -> None:
    await server.pids(4)
    async with server.members(3) as members:
        for member in members:
            await member.join(ROOM)
        note = await members[0].call(ROOM, "add_note", text="milk")
        states = [await member.sees(ROOM, lambda s: f"note:{note}" in s) for member in members]
        assert states[0] == states[1] == states[2]
        assert len({member.heads[ROOM] for member in members}) == 1


async def test_writers_on_all_workers_lose_nothing(server: Server) -> None:
    await server.pids(4)
    async with server.members(4) as members:
        for member in members:
            await member.join(ROOM)
        await asyncio.gather(*(_one_after_another(member, 25) for member in members))
        states = [await member.sees(ROOM, lambda s: s["count"] == 100) for member in members]
        assert all(state["count"] == 100 for state in states)


async def test_servers_with_nothing_in_common_but_the_store_behave_as_one(
    settings: Settings, tmp_path: Path
) -> None:
    with launch(settings, tmp_path) as one, launch(settings, tmp_path) as other:
        await one.ready()
        await other.ready()
        async with Member.connect(one.address) as here, Member.connect(other.address) as there:
            members = here, there
            for member in members:
                await member.join(ROOM)
            await asyncio.gather(*(_one_after_another(member, 20) for member in members))
            for member in members:
                await member.sees(ROOM, lambda state: state["count"] == 40)
            assert here.heads[ROOM] == there.heads[ROOM]


async def _one_after_another(member: Member, times: int) -> None:
    for _ in range(times):
        await member.call(ROOM, "add")


async def test_a_client_of_a_killed_worker_goes_on_elsewhere(server: Server) -> None:
    async with server.members(1) as (member,):
        await member.join(ROOM)
        assert await member.call(ROOM, "add", amount=5) == 5
        await member.sees(ROOM, lambda state: state["count"] == 5)
        version, tag = member.heads[ROOM]
        os.kill(member.pid, signal.SIGKILL)
        await member.websocket.wait_closed()
    async with Member.connect(server.address, client=member.client, cookie=member.cookie) as again:
        await again.send(0, ROOM, version, tag)
        assert (await again.receive())[:4] == [8, ROOM, version, tag]
        await again.send(2, 1, ROOM, "add", {"amount": 5})
        assert await again.answer(1) == [3, 1, version, None]


async def test_state_outlives_all_workers(server: Server) -> None:
    async with server.members(1) as (member,):
        await member.join(ROOM)
        await member.call(ROOM, "add", amount=7)
    for pid in await server.pids(4):
        os.kill(pid, signal.SIGKILL)
    await server.pids(4)
    async with Member.connect(server.address) as again:
        assert (await again.join(ROOM))["count"] == 7


async def test_state_outlives_the_server(settings: Settings, tmp_path: Path) -> None:
    with launch(settings, tmp_path, "--workers=2") as server:
        await server.ready()
        async with server.members(1) as (member,):
            await member.join(ROOM)
            await member.call(ROOM, "add", amount=7)
        assert server.stop() == 0
    with launch(settings, tmp_path, "--workers=2") as server:
        await server.ready()
        async with server.members(2) as members:
            for member in members:
                assert (await member.join(ROOM))["count"] == 7
