import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gospa.backends.memory import state
from gospa.backends.memory.pubsub import open_pubsub
from gospa.backends.memory.state import MemoryStateStore, open_state
from gospa.errors import StoreFull
from gospa.live.hub import open_hub
from gospa.live.router import Router
from gospa.pubsub import PubSub
from gospa.rates import Visitor
from gospa.sessions.session import new_session
from gospa.settings import Settings
from gospa.store.contract import MAX_REFUSED, Change, Commit, StateStore
from gospa.testing import until
from gospa.visitor_rooms import VisitorRooms
from tests.gospa.backends.alarm_conformance import BRIEF, ROOM
from tests.gospa.backends.state_conformance import StateStoreConformance, change
from tests.gospa.rooms import Sheet


@pytest.fixture
async def pubsub(settings: Settings) -> AsyncIterator[PubSub]:
    async with open_pubsub(settings) as pubsub:
        yield pubsub


class TestMemoryStateStore(StateStoreConformance):
    @pytest.fixture
    async def store(self, settings: Settings, pubsub: PubSub) -> AsyncIterator[StateStore]:
        async with open_state(settings, pubsub) as store:
            yield store

    @pytest.fixture
    async def brief(self, pubsub: PubSub) -> StateStore:
        return MemoryStateStore(pubsub, Settings(room_ttl=BRIEF, visited_ttl=BRIEF))

    async def test_a_room_expires(self, pubsub: PubSub) -> None:
        store = MemoryStateStore(pubsub, Settings(room_ttl=0.01))
        await store.commit(ROOM, change(exists=False, set={"a": 1}))

        async def expired() -> bool:
            return await store.load(ROOM) is None

        await until(expired)

    async def test_a_room_expires_while_it_is_only_inspected(self, pubsub: PubSub) -> None:
        store = MemoryStateStore(pubsub, Settings(room_ttl=0.1))
        await store.commit(ROOM, change(exists=False, set={"a": 1}))

        async def expired() -> bool:
            return await store.load(ROOM, renew=False) is None

        await until(expired)

    @pytest.mark.parametrize("name", ["a", "my@0123", "my@0123#members"])
    async def test_a_visited_room_and_that_of_a_session_expire_sooner(
        self, pubsub: PubSub, name: str
    ) -> None:
        store = MemoryStateStore(pubsub, Settings(visited_ttl=0.01, session_idle=0.01))
        for room in ("kept", "my@user:ann", name):
            await store.commit(room, change(exists=False, set={"a": 1}, visit=room == "a"))

        async def expired() -> bool:
            return await store.load(name) is None

        await until(expired)
        assert await store.load("kept") is not None
        assert await store.load("my@user:ann") is not None

    async def test_what_has_expired_is_forgotten(
        self, pubsub: PubSub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(state, "SWEEP", 0)
        store = MemoryStateStore(pubsub, Settings(room_ttl=0.01))
        one = change(exists=False, set={"a": 1}, source="c", numbers=1, ttl=0.01)
        await store.commit(ROOM, one)

        async def forgotten() -> bool:
            exists = await store.load("other") is not None
            await store.commit("other", change(exists=exists, set={"a": 1}))
            kept = [*store._rooms, *store._records]  # noqa: SLF001 - nothing else shows memory
            return kept == ["other"]

        await until(forgotten)


async def test_a_full_store_refuses_what_is_new_until_something_goes(pubsub: PubSub) -> None:
    store = MemoryStateStore(pubsub, Settings(memory_size=10_000))
    new = change(exists=False, set={"k": bytes(1000)})
    for number in range(4):
        await store.commit(f"room{number}", new)
    with pytest.raises(StoreFull, match="10000 bytes"):
        await store.commit("room4", new)
    assert await store.load("room0") is not None
    assert await store.load("room4") is None
    await store.delete("room0")
    await store.commit("room4", new)
    await store.commit("room3", change(delete=["k"]))


async def test_refused_numbers_count_as_memory(pubsub: PubSub) -> None:
    store = MemoryStateStore(pubsub, Settings(memory_size=20_000))
    for number in range(20):
        source, refused = f"c{number}", range(1, MAX_REFUSED)
        question = change(source=source, numbers=MAX_REFUSED, refused=refused, exists=False)
        try:
            await store.commit("room", question)
        except StoreFull:
            break
    assert number == 0
    await store.commit("room", change(source="c", numbers=1, exists=False))


async def test_a_store_is_not_full_of_what_was_replaced(pubsub: PubSub) -> None:
    store = MemoryStateStore(pubsub, Settings(memory_size=10_000))
    await store.commit("room", change(exists=False, set={"k": bytes(1000)}))
    for _ in range(100):
        assert isinstance(await store.commit("room", change(set={"k": bytes(1000)})), Commit)


async def test_a_store_is_not_full_of_what_has_expired(
    pubsub: PubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "SWEEP", 0.0)
    store = MemoryStateStore(pubsub, Settings(room_ttl=1e-9, memory_size=10_000))
    for number in range(100):
        new = change(exists=False, set={"k": bytes(1000)}, source="c", numbers=1, ttl=1e-9)
        assert isinstance(await store.commit(f"room{number}", new), Commit)


def of(session: str, grown: int, network: str = "home", **options: Any) -> Change:
    """A change by a visitor, which makes the room larger by so many bytes."""
    visitor = Visitor(session, network)
    made = change(source=session, numbers=options.pop("number", 1), **options)
    (numbered,) = made.mutations
    return replace(made, mutations=[replace(numbered, visitor=visitor, grown=grown)])


async def fill(store: MemoryStateStore, session: str, network: str) -> int:
    """Store as much as a visitor may; returns how many rooms of 1,000 bytes that is."""
    for number in range(1000):
        try:
            name = f"{session}{number}"
            value = {"k": bytes(1000)}
            await store.commit(name, of(session, 1067, network, exists=False, set=value))
        except StoreFull:
            return number
    raise AssertionError("there is no limit")


async def test_a_visitor_gets_a_share_and_others_have_room(pubsub: PubSub) -> None:
    store = MemoryStateStore(pubsub, Settings(memory_size=1_000_000))
    first = await fill(store, "ann", "home")
    assert 0 < first * 2_600 < 1_000_000 / 8
    assert await fill(store, "bob", "home") > first / 4  # who lives with her
    for number in range(20):
        assert await fill(store, f"other{number}", f"net{number}") > 0


async def test_changes_without_a_number_count_for_the_share_as_well(pubsub: PubSub) -> None:
    """Such as those over HTTP."""
    settings = Settings(memory_size=100_000)
    store = MemoryStateStore(pubsub, settings)
    async with open_hub(store, pubsub, Router([Sheet]), settings) as hub:
        rooms = VisitorRooms(hub, new_session(0.0), "192.0.2.1")
        note = msgspec.json.encode({"text": "x" * 400})
        calls = [rooms.call(f"sheet/{number}", "add_note", note) for number in range(1000)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    errors = {str(each) for each in outcomes if isinstance(each, StoreFull)}
    assert errors == {"the visitor's share of the memory is full (GOSPA_MEMORY_SIZE)"}


async def test_who_has_reached_the_share_may_go_on_with_smaller_values(pubsub: PubSub) -> None:
    store = MemoryStateStore(pubsub, Settings(memory_size=100_000))
    assert await fill(store, "ann", "home") > 1
    with pytest.raises(StoreFull, match="share"):
        await store.commit("ann0", of("ann", 9_000, number=2, set={"k": bytes(10_000)}))
    await store.commit("ann0", of("ann", -990, number=2, set={"k": bytes(10)}))
    await store.commit("ann1", of("ann", -1067, number=2, delete=["k"]))
    await store.commit("ann0", of("ann", 990, number=3, set={"k": bytes(1000)}))


async def test_what_is_deleted_or_removed_by_others_frees_the_share(pubsub: PubSub) -> None:
    store = MemoryStateStore(pubsub, Settings(memory_size=100_000))
    count = await fill(store, "ann", "home")
    for number in range(count):
        if number % 2:
            await store.delete(f"ann{number}")
        else:
            await store.commit(f"ann{number}", of("bob", -1067, "cafe", delete=["k"]))
    await store.commit("new", of("ann", 1067, exists=False, set={"k": bytes(1000)}))


async def test_nothing_that_is_stored_makes_way_for_what_is_new(pubsub: PubSub) -> None:
    store = MemoryStateStore(pubsub, Settings(memory_size=50_000))
    await store.commit("first", change(exists=False, set={"k": 1}))
    for number in range(50):
        await fill(store, f"visitor{number}", f"net{number}")
    assert await store.load("first") is not None
    assert await store.load("visitor00") is not None
