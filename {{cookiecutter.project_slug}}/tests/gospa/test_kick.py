"""The application removes members, or has their rights asked for again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gospa import (
    Rooms,
)
from gospa.testing import OpenApp, Refused, Site, until
from tests.gospa.raw_client import ConnectRaw
from tests.gospa.shop import ROOM, open_shop


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_shop(open_app) as site:
        yield site


async def test_who_is_kicked_learns_it_and_leaves_that_room_alone(
    rooms: Rooms, site: Site, connect_raw: ConnectRaw
) -> None:
    async with connect_raw(user="ann") as ann, connect_raw(user="bob") as bob:
        for member in (ann, bob):
            for room in (ROOM, "shop/other"):
                await member.join(room)
        site.app.ctx.banned = {"bob"}
        await rooms.kick(ROOM, user="bob")
        kicked = await bob.until(lambda message: message[0] == 4 and message[4] == ROOM)
        assert kicked[1:3] == [None, "kicked"]
        with pytest.raises(Refused, match="not_joined"):
            await bob.call(ROOM, "ask", item="ball")
        with pytest.raises(Refused, match="may not enter"):
            await bob.join(ROOM)
        assert await bob.call("shop/other", "ask", item="ball") == ["bob", False, "ball"]
        assert await ann.call(ROOM, "ask", item="ball") == ["ann", False, "ball"]


class Gate(asyncio.Event):
    """Once it is set, rooms are loaded."""

    asked = False


@pytest.fixture
def gate(site: Site, monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate, store = Gate(), site.app.ctx.hub.store
    load = store.load

    async def wait(room: str) -> Any:
        gate.asked = True
        await gate.wait()
        return await load(room)

    monkeypatch.setattr(store, "load", wait)
    return gate


async def test_who_joins_while_members_are_kicked_is_asked_again(
    rooms: Rooms, site: Site, connect_raw: ConnectRaw, gate: Gate
) -> None:
    async with connect_raw(user="bob") as bob:
        joining = asyncio.ensure_future(bob.join(ROOM))
        await until(lambda: gate.asked)
        site.app.ctx.banned = {"bob"}
        await rooms.kick(ROOM, user="bob")
        gate.set()
        with pytest.raises(Refused, match="may not enter"):
            await joining


async def test_members_are_kicked_while_their_room_is_loaded_again(
    rooms: Rooms, site: Site, connect_raw: ConnectRaw, gate: Gate
) -> None:
    async with connect_raw(user="bob") as bob:
        gate.set()
        await bob.join(ROOM)
        gate.clear()
        site.app.ctx.hub.rooms[ROOM].follower._repair("a test")  # noqa: SLF001
        await rooms.kick(ROOM, user="bob")
        await bob.until(lambda message: message[:3] == [4, None, "kicked"])
        gate.set()


async def test_members_are_asked_again_at_once_and_those_who_lost_access_are_told(
    rooms: Rooms, site: Site, connect_raw: ConnectRaw
) -> None:
    async with connect_raw(user="ann") as ann, connect_raw(user="bob") as bob:
        for member in (ann, bob):
            for room in (ROOM, "shop/other"):
                await member.join(room)
        site.app.ctx.banned = {"ann", "bob"}
        await rooms.reauthorize(ROOM, user="bob")
        told = await bob.until(lambda message: message[0] == 4)
        assert told == [4, None, "unauthorized", f"you may no longer be in {ROOM}", ROOM]
        assert await bob.call("shop/other", "look") == await ann.call(ROOM, "look") == 3
        await rooms.reauthorize(ROOM)
        assert (await ann.until(lambda message: message[0] == 4))[2] == "unauthorized"


async def test_a_user_is_kicked_by_any_spelling_of_the_name(
    rooms: Rooms, connect_raw: ConnectRaw
) -> None:
    async with connect_raw(user="Zo\u00eb") as member:
        await member.join(ROOM)
        await rooms.kick(ROOM, user="Zoe\u0308")
        assert (await member.until(lambda message: message[0] == 4))[2] == "kicked"
