"""Repeats by clients that may no longer do what they did: what was applied is acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gospa import Rooms
from gospa.testing import OpenApp, Refused, Site
from tests.gospa.live.hall import HALL, Hall
from tests.gospa.raw_client import RawClient, raw_client

SPEAK: tuple[Any, ...] = (HALL, "speak", {})


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([Hall], session_check_interval=3600) as site:
        site.app.ctx.broken = False
        yield site


async def change(site: Site, cookie: str, **values: Any) -> None:
    """Change a session, as a request of its visitor would."""
    record = await site.app.ctx.sessions.load(cookie.partition("=")[2])
    record.session.update(values)
    await site.app.ctx.sessions.save(record)
    site.app.ctx.session_watch.on_gap()


async def repeat(ann: RawClient, number: int) -> list[Any]:
    """Send a CALL under a number that it may have had before; returns the answer."""
    await ann.send(2, number, *SPEAK)
    return await ann.until(lambda message: message[:2] in ([3, number], [4, number]))


async def mute(site: Site, rooms: Rooms, cookie: str, ann: RawClient) -> None:
    await change(site, cookie, muted=True)
    await ann.until(lambda message: message[0] == 8 and message[-1] == "read")


async def forbid(site: Site, rooms: Rooms, cookie: str, ann: RawClient) -> None:
    await change(site, cookie, forbidden=["speak"], muted=True)
    await ann.until(lambda message: message[0] == 8 and message[-1] == "read")
    await change(site, cookie, muted=False)
    await ann.until(lambda message: message[0] == 8 and message[-1] == "full")


async def ban(site: Site, rooms: Rooms, cookie: str, ann: RawClient) -> None:
    await change(site, cookie, banned=True)
    await ann.until(lambda message: message[:3] == [4, None, "unauthorized"])


async def kick(site: Site, rooms: Rooms, cookie: str, ann: RawClient) -> None:
    await rooms.kick(HALL, user="ann")
    await ann.until(lambda message: message[:3] == [4, None, "kicked"])


Lose = Callable[[Site, Rooms, str, RawClient], Awaitable[None]]


@pytest.mark.parametrize("lose", [mute, forbid, ban, kick])
async def test_a_repeat_is_acknowledged_though_its_client_has_lost_access_since(
    site: Site, rooms: Rooms, lose: Lose
) -> None:
    code = "not_joined" if lose in (ban, kick) else "unauthorized"
    cookie = await site.log_in("ann")
    async with raw_client(site, cookie=cookie) as ann:
        await ann.join(HALL)
        _, _, version, _ = await repeat(ann, 1)
        await lose(site, rooms, cookie, ann)
        assert (await repeat(ann, 2))[2] == code
        assert await repeat(ann, 1) == [3, 1, version, None]
        async with raw_client(site, cookie=cookie, client=ann.client) as again:
            if code != "not_joined":
                await again.join(HALL)
            assert await repeat(again, 1) == [3, 1, version, None]
            assert (await repeat(again, 3))[2] == code
    assert (await rooms.read(Hall, HALL)).spoken == 1


async def test_who_has_no_access_learns_of_the_changes_of_nobody_else(
    site: Site, rooms: Rooms
) -> None:
    cookie = await site.log_in("eve", banned=True)
    async with raw_client(site, user="ann") as ann, raw_client(site, cookie=cookie) as eve:
        await ann.join(HALL)
        await repeat(ann, 1)
        async with raw_client(site, cookie=cookie, client=ann.client) as same:
            for client in (eve, same):
                with pytest.raises(Refused, match="unauthorized"):
                    await client.join(HALL)
                for room in (HALL, "hall/none"):
                    await client.send(2, 1, room, "speak", {})
                    answer = await client.until(lambda message: message[0] in (3, 4))
                    assert answer[:3] == [4, 1, "not_joined"]
    assert (await rooms.read(Hall, HALL)).spoken == 1


async def test_a_repeat_is_acknowledged_though_a_release_took_its_action_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_client(site, user="ann") as ann:
        await ann.join(HALL)
        first = await repeat(ann, 1)
        monkeypatch.setattr(Hall, "actions", {})
        assert await repeat(ann, 1) == [*first[:3], None]
        assert (await repeat(ann, 2))[2] == "unknown_action"


async def test_what_was_refused_for_want_of_access_is_refused_again(
    site: Site, rooms: Rooms
) -> None:
    cookie = await site.log_in("ann", muted=True)
    async with raw_client(site, cookie=cookie) as ann:
        await ann.join(HALL)
        assert (await repeat(ann, 1))[2] == "unauthorized"
        await change(site, cookie, muted=False)
        await ann.until(lambda message: message[0] == 8 and message[-1] == "full")
        assert (await repeat(ann, 1))[2] == "refused"
        assert (await repeat(ann, 2))[0] == 3
    assert (await rooms.read(Hall, HALL)).spoken == 1


async def test_rights_that_are_asked_again_are_those_of_the_session_as_it_is_stored(
    site: Site, rooms: Rooms
) -> None:
    cookie = await site.log_in("ann")
    async with raw_client(site, cookie=cookie) as ann, raw_client(site, user="bob") as bob:
        for client in (ann, bob):
            await client.join(HALL)
        record = await site.app.ctx.sessions.load(cookie.partition("=")[2])
        record.session["banned"] = True
        await site.app.ctx.sessions.save(record)  # which nothing announces
        await rooms.reauthorize(HALL)
        told = await ann.until(lambda message: message[0] == 4)
        assert told[1:3] == [None, "unauthorized"]
        assert (await bob.call(HALL, "speak"))[0] == "bob"


async def test_a_session_that_ended_ends_its_connection_when_rights_are_asked_again(
    site: Site, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_client(site, user="ann") as ann, raw_client(site, user="bob") as bob:
        for client in (ann, bob):
            await client.join(HALL)
        sessions = site.app.ctx.sessions
        (session,) = await sessions.sessions_of("ann")
        await sessions._storage.delete(f"session:{session.identity}")  # noqa: SLF001 - untold
        await rooms.reauthorize(HALL)
        await ann.websocket.wait_closed()
        assert ann.websocket.close_code == 4502
        assert (await bob.call(HALL, "speak"))[0] == "bob"


async def test_a_python_client_learns_what_was_applied_before_it_lost_access(
    site: Site, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = await site.log_in("ann")
    async with site.connect(cookie=cookie) as ann:
        room = await ann.join(HALL)
        commit, taken, go = site.app.ctx.hub.store.commit, asyncio.Event(), asyncio.Event()

        async def slow(key: str, change: Any) -> Any:
            taken.set()
            await go.wait()
            return await commit(key, change)

        monkeypatch.setattr(site.app.ctx.hub.store, "commit", slow)
        calling = asyncio.ensure_future(room.call("speak"))
        await taken.wait()
        await rooms.kick(HALL, user="ann")
        with pytest.raises(Refused, match="kicked"):
            await room.until(lambda state: not state)
        late = asyncio.ensure_future(room.call("speak"))
        go.set()
        assert (await calling)[0] == "ann"
        with pytest.raises(Refused, match="kicked"):
            await late
    monkeypatch.undo()
    assert (await rooms.read(Hall, HALL)).spoken == 1
