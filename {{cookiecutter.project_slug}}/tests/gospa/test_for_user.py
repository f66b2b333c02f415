"""Rooms of one session or user, as members and the application reach them."""

from collections.abc import AsyncIterator

import pytest

from gospa import (
    Invalid,
    Rooms,
    UnknownRoom,
)
from gospa.testing import OpenApp, Site
from tests.gospa.raw_client import ConnectRaw, raw_client
from tests.gospa.shop import ROOM, Mail, Purse, Shop, open_shop


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_shop(open_app) as site:
        yield site


async def test_a_user_is_told_in_all_of_their_tabs_and_nobody_else(
    rooms: Rooms, site: Site, connect_raw: ConnectRaw
) -> None:
    async with (
        connect_raw(user="ann") as one,
        connect_raw(user="ann") as other,
        connect_raw(user="bob") as bob,
    ):
        for member in (one, other, bob):
            await member.join("mail")
        await rooms.for_user("ann").send(Mail.arrived, "mail", "hello")
        for member in (one, other):
            assert await member.hears("mail", "arrived") == "hello"
        assert await rooms.for_user("ann").call(Mail.count, "mail") == [1, 1]
        assert await rooms.for_user("nobody").call(Mail.count, "mail") == []
        with pytest.raises(Invalid, match="one room for everybody"):
            await rooms.for_user("ann").send(Shop.asked, ROOM, "secret")
        with pytest.raises(Invalid, match="one room for everybody"):
            await rooms.for_user("ann").call(Shop.look, ROOM)
        assert bob.events == []
        assert (await bob.join("mail"))["unread"] == 0


async def test_what_is_each_sessions_own_is_read_in_each(rooms: Rooms, site: Site) -> None:
    async with raw_client(site, user="ann") as one, raw_client(site, user="ann"):
        await one.join("mail")
        await rooms.for_user("ann").call(Mail.count, "mail")
        assert [state.unread for state in await rooms.for_user("ann").read(Mail, "mail")] == [1, 1]
        assert await rooms.for_user("nobody").read(Mail, "mail") == []
        await one.sees("mail", lambda state: state["unread"] == 1)


async def test_what_is_a_users_own_is_one_room_on_all_devices(
    rooms: Rooms, connect_raw: ConnectRaw
) -> None:
    async with (
        connect_raw(user="ann") as one,
        connect_raw(user="ann") as other,
        connect_raw(user="bob") as bob,
    ):
        for member in (one, other, bob):
            await member.join("purse/a")
        ann = rooms.for_user("ann")
        assert await ann.call(Purse.count, "purse/a") == [1]
        for member in (one, other):
            await member.sees("purse/a", lambda state: state["unread"] == 1)
        await ann.send(Purse.arrived, "purse/a", "hello")
        for member in (one, other):
            assert await member.hears("purse/a", "arrived") == "hello"
        assert [state.unread for state in await ann.read(Purse, "purse/a")] == [1]
        assert [state.unread for state in await ann.read(Purse, "purse/b")] == [0]
        assert bob.events == []
        assert (await bob.join("purse/a"))["unread"] == 0


async def test_a_users_own_room_is_there_without_a_session(rooms: Rooms) -> None:
    for spelling in ("Zo\u00eb@{/#}%", "Zoe\u0308@{/#}%"):
        await rooms.for_user(spelling).call(Purse.count, "purse/a")
    assert [s.unread for s in await rooms.for_user("Zo\u00eb@{/#}%").read(Purse, "purse/a")] == [2]
    with pytest.raises(ValueError, match="printable"):
        await rooms.for_user("").read(Purse, "purse/a")


async def test_a_visitor_has_such_a_room_in_the_session_until_the_log_in(
    rooms: Rooms, connect_raw: ConnectRaw
) -> None:
    async with connect_raw() as visitor, connect_raw() as other:
        for member in (visitor, other):
            await member.join("purse/a")
        await rooms.for_user("ann").call(Purse.count, "purse/a")
        assert (await visitor.join("purse/a"))["unread"] == 0


async def test_rooms_of_other_kinds_and_names_are_refused(rooms: Rooms) -> None:
    ann = rooms.for_user("ann")
    with pytest.raises(UnknownRoom, match="is a Purse, not a Mail"):
        await ann.read(Mail, "purse/a")
    for name in ("nowhere", "purse/a@user:bob", "purse/a/b"):
        with pytest.raises(UnknownRoom):
            await ann.read(Purse, name)


async def test_rooms_of_sessions_and_users_have_no_names(
    rooms: Rooms, connect_raw: ConnectRaw
) -> None:
    async with connect_raw(user="ann"):
        await rooms.for_user("ann").call(Mail.count, "mail")
        await rooms.for_user("ann").call(Purse.count, "purse/a")
        await rooms.call(Shop.sell, ROOM, "ball")
        assert {name async for name in rooms.names()} == {ROOM}
