"""What a room begins with: what `load` gives, as its first commit."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gospa import Access, Items, Room, Rooms, Session, State, StoreUnavailable, action
from gospa.live import hub
from gospa.store.contract import NO_TAG
from gospa.testing import OpenApp, Refused, Site, until
from tests.gospa.raw_client import raw_client

DOC = "doc/a"


class DocState(State):
    title: str = "none"
    edits: int = 0
    lines: Items[str] = Items()


class Database:
    """What `load` asks: the documents that were saved. It answers when it may."""

    def __init__(self) -> None:
        self.titles: dict[str, str] = {}
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.broken = False
        self.serials = itertools.count()

    async def find(self, name: str) -> DocState | None:
        self.asked += 1
        await self.answers.wait()
        if self.broken:
            raise ConnectionError("the database is away")
        if name not in self.titles:
            return None
        state = DocState(title=f"{self.titles[name]} {next(self.serials)}")
        state.lines["1"] = "first"
        return state


class Doc(Room[DocState]):
    pattern = "doc/<name>"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    async def load(self) -> DocState | None:
        database: Database = self.app.ctx.database
        return await database.find(self.params["name"])

    @action
    def edit(self, state: DocState) -> str:
        state.edits += 1
        return state.title

    @action
    def touch(self, state: DocState) -> None:
        state.edits = 1  # blind


@pytest.fixture
def database() -> Database:
    database = Database()
    database.titles["a"] = "Letter"
    return database


@pytest.fixture
async def site(
    open_app: OpenApp, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    monkeypatch.setattr(hub, "TICK", 3600.0)  # rooms stay open
    async with open_app([Doc], head_check_interval=3600) as site:
        site.app.ctx.database = database
        yield site


async def version(site: Site) -> int:
    stored = await site.app.ctx.hub.store.load(DOC)
    return stored.version if stored else 0


async def test_what_is_loaded_is_the_rooms_first_commit(site: Site, rooms: Rooms) -> None:
    async with raw_client(site) as ann:
        assert await ann.join(DOC) == {"title": "Letter 0", "edits": 0, "lines/1": "first"}
        assert ann.heads[DOC][0] == await version(site) == 1
        assert await ann.call(DOC, "edit") == "Letter 0"
    assert (await rooms.read(Doc, DOC)).title == "Letter 0"


async def test_however_many_wait_it_is_loaded_once(
    site: Site, rooms: Rooms, database: Database
) -> None:
    database.answers.clear()
    async with raw_client(site) as ann, raw_client(site) as bob:
        waiting = [
            *(asyncio.ensure_future(member.join(DOC)) for member in (ann, bob)),
            *(asyncio.ensure_future(rooms.call(Doc.edit, DOC)) for _ in range(5)),
        ]
        await until(lambda: database.asked == 1)
        database.answers.set()
        await asyncio.gather(*waiting)
        for member in (ann, bob):
            await member.sees(DOC, lambda state: state["edits"] == 5)
    assert database.asked == 1


async def test_a_read_loads_what_is_not_stored(site: Site, rooms: Rooms) -> None:
    state = await rooms.read(Doc, DOC)
    assert (state.title, dict(state.lines)) == ("Letter 0", {"1": "first"})
    assert await version(site) == 1
    assert DOC not in site.app.ctx.hub.rooms


async def test_those_who_read_or_join_at_once_share_one_load(
    site: Site, rooms: Rooms, database: Database
) -> None:
    database.answers.clear()
    async with raw_client(site) as ann:
        waiting = [asyncio.ensure_future(rooms.read(Doc, DOC)) for _ in range(5)]
        joining = asyncio.ensure_future(ann.join(DOC))
        given_up = waiting.pop(0)
        await until(lambda: database.asked == 1)
        given_up.cancel()
        database.answers.set()
        assert {state.title for state in await asyncio.gather(*waiting)} == {"Letter 0"}
        assert (await joining)["title"] == "Letter 0"
    assert database.asked == 1
    await rooms.read(Doc, "doc/none")
    await rooms.read(Doc, "doc/none")
    assert database.asked == 3  # what is not known is asked each time


async def test_a_read_that_fails_fails_for_all_and_the_next_one_asks_again(
    site: Site, rooms: Rooms, database: Database
) -> None:
    database.broken = True
    found = await asyncio.gather(*(rooms.read(Doc, DOC) for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in found] == [ConnectionError] * 5
    assert database.asked == 1
    database.broken = False
    assert (await rooms.read(Doc, DOC)).title == "Letter 0"


async def read_own(rooms: Rooms) -> None:
    await rooms.read(Doc, DOC)


async def call_own(rooms: Rooms) -> None:
    await asyncio.create_task(rooms.call(Doc.edit, DOC))


async def watch_own(rooms: Rooms) -> None:
    async with rooms.watch(Doc, DOC):
        pytest.fail("it is open")


async def call_other_that_calls_own(rooms: Rooms) -> None:
    await rooms.call(Doc.edit, "doc/other")


OWN = [read_own, call_own, watch_own, call_other_that_calls_own]


@pytest.mark.parametrize("use", OWN)
async def test_a_load_that_uses_its_own_room_fails_and_says_so(
    site: Site,
    rooms: Rooms,
    database: Database,
    use: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def find(name: str) -> DocState:
        await (call_own if name == "other" else use)(rooms)
        return DocState()

    with monkeypatch.context() as patch:
        patch.setattr(database, "find", find)
        async with raw_client(site) as ann:
            with pytest.raises(Refused, match="internal"):
                await ann.join(DOC)
            with pytest.raises(RuntimeError, match=f"load.. of {DOC} uses this very room"):
                await rooms.call(Doc.edit, DOC)
    assert await rooms.call(Doc.edit, DOC) == "Letter 0"


async def test_a_load_that_uses_its_own_room_fails_also_after_the_room_was_lost(
    site: Site, rooms: Rooms, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(_: str) -> DocState:
        await call_own(rooms)
        return DocState()

    async with rooms.watch(Doc, DOC) as states:
        await anext(states)
        with monkeypatch.context() as patch:
            patch.setattr(database, "find", find)
            await site.app.ctx.hub.store.delete(DOC)
            with pytest.raises(StoreUnavailable, match="uses this very room"):
                await rooms.call(Doc.edit, DOC)
        assert await rooms.call(Doc.edit, DOC) == "Letter 1"


async def test_what_a_load_leaves_running_may_use_the_room_later(
    site: Site, rooms: Rooms, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    later, left = asyncio.Event(), list[asyncio.Task[Any]]()

    async def use() -> Any:
        await later.wait()
        return await rooms.call(Doc.edit, DOC)

    async def find(_: str) -> DocState:
        left.append(asyncio.create_task(use()))
        return DocState(title="found")

    monkeypatch.setattr(database, "find", find)
    assert (await rooms.read(Doc, DOC)).title == "found"
    later.set()
    assert await left[0] == "found"


async def test_where_nothing_is_known_there_are_defaults_and_nothing_is_stored(
    site: Site, rooms: Rooms
) -> None:
    async with raw_client(site) as ann:
        assert await ann.join("doc/b") == {"title": "none", "edits": 0}
        assert ann.heads["doc/b"] == (0, NO_TAG)
    assert [name async for name in rooms.names()] == []
    assert await rooms.call(Doc.edit, "doc/b") == "none"


async def test_two_workers_at_once_show_the_same_state(
    site: Site, open_app: OpenApp, database: Database
) -> None:
    async with open_app([Doc]) as other:
        if not other.app.ctx.backends.state.shared:
            pytest.skip("workers share nothing")
        other.app.ctx.database = database
        database.answers.clear()
        async with raw_client(site) as ann, raw_client(other) as bob:
            joining = [asyncio.ensure_future(member.join(DOC)) for member in (ann, bob)]
            await until(lambda: database.asked == 2)
            database.answers.set()
            one, two = await asyncio.gather(*joining)
            assert one == two
            assert ann.heads == bob.heads
            assert ann.heads[DOC][0] == 1


async def test_a_room_that_is_deleted_is_loaded_again(
    site: Site, rooms: Rooms, database: Database
) -> None:
    async with raw_client(site) as ann:
        await ann.join(DOC)
        await ann.call(DOC, "edit")
        await rooms.delete(DOC)
        await ann.sees(DOC, lambda state: state.get("title") == "Letter 1")
        assert ann.states[DOC] == {"title": "Letter 1", "edits": 0, "lines/1": "first"}


@pytest.mark.parametrize("action_", [Doc.edit, Doc.touch])
async def test_a_change_to_a_room_that_was_lost_is_made_to_what_is_loaded(
    site: Site, rooms: Rooms, database: Database, action_: Any
) -> None:
    async with rooms.watch(Doc, DOC) as states:
        await anext(states)
        await rooms.call(Doc.edit, DOC)
        await site.app.ctx.hub.store.delete(DOC)
        await rooms.call(action_, DOC)
    state = await rooms.read(Doc, DOC)
    assert (state.title, state.edits, dict(state.lines)) == ("Letter 1", 1, {"1": "first"})


async def test_while_it_cannot_be_loaded_nobody_is_shown_anything(
    site: Site, rooms: Rooms, database: Database
) -> None:
    database.broken = True
    async with raw_client(site) as ann:
        with pytest.raises(Refused, match="internal"):
            await ann.join(DOC)
        with pytest.raises(ConnectionError):
            await rooms.call(Doc.edit, DOC)
        assert await version(site) == 0
        database.broken = False
        assert (await ann.join(DOC))["title"] == "Letter 0"


async def test_members_stay_while_a_room_that_was_lost_cannot_be_loaded(
    site: Site, rooms: Rooms, database: Database
) -> None:
    async with raw_client(site) as ann:
        await ann.join(DOC)
        database.broken = True
        await rooms.delete(DOC)
        await until(lambda: database.asked >= 3)
        assert ann.states[DOC]["title"] == "Letter 0"
        database.broken = False
        await ann.sees(DOC, lambda state: state["title"] == "Letter 1")


async def test_what_cannot_be_stored_is_not_loaded(
    site: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(_: str) -> DocState:
        state = DocState()
        with pytest.raises(ValueError, match="cannot hold"):
            state.edits = "many"  # type: ignore[assignment]
        state.lines["1"] = "\ud800"
        return state

    monkeypatch.setattr(database, "find", find)
    async with raw_client(site) as ann:
        with pytest.raises(Refused, match="internal"):
            await ann.join(DOC)
    assert await version(site) == 0
