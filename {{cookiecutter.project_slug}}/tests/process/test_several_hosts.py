"""Two servers of their own, as on two hosts, with nothing in common but the store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.settings import Settings
from tests.member import Member
from tests.process.server import Server, launch

ROOM = "board/a"


@pytest.fixture
async def hosts(settings: Settings, tmp_path: Path) -> AsyncIterator[tuple[Server, Server]]:
    with launch(settings, tmp_path) as one, launch(settings, tmp_path) as other:
        yield await one.ready(), await other.ready()


async def test_they_behave_as_one(hosts: tuple[Server, Server]) -> None:
    one, other = hosts
    async with Member.connect(one.address) as here, Member.connect(other.address) as there:
        members = here, there
        for member in members:
            await member.join(ROOM)
        await asyncio.gather(*(_add(member, 20) for member in members))
        for member in members:
            await member.sees(ROOM, lambda state: state["count"] == 40)
        assert here.heads[ROOM] == there.heads[ROOM]


async def _add(member: Member, times: int) -> None:
    for _ in range(times):
        await member.call(ROOM, "add")


async def test_a_client_goes_on_at_the_other_when_one_ends(hosts: tuple[Server, Server]) -> None:
    one, other = hosts
    async with Member.connect(one.address) as member:
        await member.join(ROOM)
        await member.call(ROOM, "add")
        await member.sees(ROOM, lambda state: state["count"] == 1)
        version, tag = member.heads[ROOM]
        one.process.kill()
        await member.websocket.wait_closed()
    async with Member.connect(other.address, client=member.client) as again:
        await again.send(0, ROOM, version, tag)
        assert await again.receive() == [8, ROOM, version, tag]
        await again.send(2, 1, ROOM, "add", {})
        assert await again.answer(1) == [3, 1, version, None]
