"""What a room keeps elsewhere: `save` is called with its newest state, and versions only grow."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gospa import Access, Room, Rooms, Session, State, action, rooms_of
from gospa.live import hub
from gospa.live.local_room import LocalRoom
from gospa.store.contract import NO_MESSAGE, Change
from gospa.testing import OpenApp, Site, until
from tests.gospa.raw_client import raw_client

BOOK = "book/a"
Saved = list[tuple[int, int]]  # count and version of each


class BookState(State):
    count: int = 0


class Book(Room[BookState]):
    pattern = "book/<name>"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    async def save(self, state: BookState, version: int) -> None:
        self.app.ctx.saved.append((state.count, version))
        if self.app.ctx.broken:
            raise ConnectionError("the database is away")

    @action
    def add(self, state: BookState) -> None:
        state.count += 1


@pytest.fixture
async def site(open_app: OpenApp, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(hub, "TICK", 0.05)
    async with open_app([Book], save_delay=0.05) as site:
        site.app.ctx.saved, site.app.ctx.broken = [], False
        yield site


@pytest.fixture
def saved(site: Site) -> Saved:
    found: Saved = site.app.ctx.saved
    return found


def closed(site: Site) -> Callable[[], bool]:
    return lambda: BOOK not in site.app.ctx.hub.rooms


def saver_is_idle(local: LocalRoom) -> Callable[[], bool]:
    return lambda: local.saver is None or local.saver.idle


async def test_what_follows_before_the_delay_is_over_is_saved_together(open_app: OpenApp) -> None:
    saved: Saved = []
    async with open_app([Book], save_delay=3600) as site:
        site.app.ctx.saved, site.app.ctx.broken = saved, False
        for _ in range(5):
            await rooms_of(site.app).call(Book.add, BOOK)
        assert saved == []
    assert [count for count, _ in saved] == [5], "rooms are saved when the worker stops"


async def test_a_save_that_fails_is_tried_again(site: Site, rooms: Rooms, saved: Saved) -> None:
    site.app.ctx.broken = True
    await rooms.call(Book.add, BOOK)
    await until(lambda: len(saved) >= 2)
    site.app.ctx.broken = False
    await until(closed(site))
    assert {count for count, _ in saved} == {1}


async def test_a_room_that_was_deleted_before_it_was_saved_is_not_saved_in_an_older_version(
    site: Site, rooms: Rooms, saved: Saved
) -> None:
    async with raw_client(site) as ann:
        await ann.join(BOOK)
        local: LocalRoom = site.app.ctx.hub.rooms[BOOK]
        site.app.ctx.broken = True
        await ann.call(BOOK, "add")
        await ann.sees(BOOK, lambda state: state["count"] == 1)
        await until(lambda: len(saved) >= 1)
        await rooms.delete(BOOK)
        await ann.sees(BOOK, lambda state: state["count"] == 0)
        site.app.ctx.broken = False
        await until(saver_is_idle(local))
        await ann.call(BOOK, "add")
        await until(lambda: saved[-1][1] > saved[0][1])
    await until(closed(site))
    versions = [version for _, version in saved]
    assert versions == sorted(versions)


async def test_what_follows_commits_that_the_store_lost_is_saved_in_a_later_version(
    site: Site, rooms: Rooms, saved: Saved
) -> None:
    store = site.app.ctx.hub.store
    async with rooms.watch(Book, BOOK) as states:
        await anext(states)
        await rooms.call(Book.add, BOOK)
        kept = await store.load(BOOK)
        for _ in range(20):
            await rooms.call(Book.add, BOOK)
        await until(lambda: saved[-1:] != [] and saved[-1][0] == 21)
        lost = saved[-1][1]
        await store.delete(BOOK)  # and it is back at the first of them, as after a failover
        old = Change(tag=kept.tag, exists=False, message=NO_MESSAGE, set=kept.fields)
        await store.commit(BOOK, old)
        await rooms.call(Book.add, BOOK)
        await until(lambda: saved[-1][0] == 2)
        assert saved[-1][1] > lost


class RenamedState(State):
    total: int = 0


class Renamed(Room[RenamedState]):
    """The same room, of a newer release."""

    pattern, version = "book/<name>", 2

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    def migrate(self, old: dict[str, Any], version: int) -> None:
        old["total"] = old.pop("count", 0)


async def test_an_older_release_saves_nothing_of_a_newer_shape(
    site: Site, rooms: Rooms, saved: Saved, open_app: OpenApp
) -> None:
    if not site.app.ctx.backends.state.shared:
        pytest.skip("releases share nothing")
    site.app.ctx.broken = True
    async with rooms.watch(Book, BOOK) as states:
        await anext(states)
        await rooms.call(Book.add, BOOK)
        await until(lambda: len(saved) >= 1)
        async with open_app([Renamed]) as newer:
            assert (await rooms_of(newer.app).read(Renamed, BOOK)).total == 1
        local: LocalRoom = site.app.ctx.hub.rooms[BOOK]
        await until(lambda: local.follower.replica.version > saved[0][1])
        before = len(saved)
        site.app.ctx.broken = False
        await until(saver_is_idle(local))
    assert [count for count, _ in saved[before:]] == []
