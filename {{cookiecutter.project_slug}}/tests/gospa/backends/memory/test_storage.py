import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from gospa.backends.memory import storage as memory
from gospa.backends.memory.storage import MemoryStorage, open_storage
from gospa.errors import StoreFull
from gospa.pubsub import PubSub
from gospa.rates import Visitor
from gospa.sessions.store import SessionStore
from gospa.settings import Settings
from gospa.storage import Storage
from tests.gospa.backends.storage_conformance import StorageConformance
from tests.gospa.sessions.lifecycle import SessionLifecycle, no_room


@pytest.fixture
async def storage(settings: Settings) -> AsyncIterator[Storage]:
    async with open_storage(settings) as storage:
        yield storage


class TestMemoryStorage(StorageConformance):
    pass


class TestMemorySessions(SessionLifecycle):
    pass


async def test_a_full_storage_refuses_what_is_new_and_keeps_what_it_has() -> None:
    storage = MemoryStorage(1000)
    await storage.set("a", b"x" * 200)
    await storage.set("b", b"x" * 200)
    with pytest.raises(StoreFull, match="1000 bytes"):
        await storage.set("c", b"x" * 200)
    await storage.set("b", b"y")
    assert await storage.get("a") == b"x" * 200
    await storage.delete("a")
    await storage.set("c", b"x" * 200)


async def test_a_full_storage_forgets_what_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SWEEP", 0.0)
    storage = MemoryStorage(1000)
    for key in "abcdefgh":
        await storage.set(key, b"x" * 300, ttl=0)
    await storage.set("i", b"x" * 300)
    assert await storage.get("i") is not None


async def fill(storage: MemoryStorage, visitor: Visitor, name: str) -> int:
    """Store as many values of a visitor as it may; returns their number."""
    count = 0
    try:
        while await storage.replace(f"{name}{count}", None, b"x" * 200, visitor=visitor):
            count += 1
    except StoreFull:
        pass
    return count


async def test_a_visitor_may_fill_its_share_and_others_find_space() -> None:
    storage = MemoryStorage(100_000)
    greedy = [Visitor(f"session {number}", "198.51.100.7") for number in range(50)]
    taken = sum([await fill(storage, visitor, visitor.session) for visitor in greedy])
    assert 0 < taken * 456 < 25_000
    assert await fill(storage, Visitor("neighbour", "203.0.113.5"), "b") > 10
    await storage.set("check:ready", b"")


async def test_a_visitor_may_store_again_what_it_removed_or_what_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "SWEEP", 0.0)
    storage, visitor = MemoryStorage(100_000), Visitor("session", "198.51.100.7")
    taken = await fill(storage, visitor, "a")
    for number in range(taken):
        await storage.delete(f"a{number}")
    assert await fill(storage, visitor, "b") == taken
    for number in range(taken):
        await storage.replace(f"b{number}", b"x" * 200, b"x" * 200, ttl=0)
    assert await fill(storage, visitor, "c") == taken


async def test_what_expired_leaves_its_space_to_the_next_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage, passed, now = MemoryStorage(100_000), 0.0, time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + passed)
    for number in range(100):
        with suppress(StoreFull):
            visitor = Visitor(f"session {number}", "198.51.100.7")
            await storage.replace(f"a{number}", None, b"x" * 200, ttl=60, visitor=visitor)
    passed = 61.0
    neighbour = Visitor("neighbour", "198.51.100.7")
    assert await storage.replace("b", None, b"x" * 200, visitor=neighbour)


async def test_a_visitor_with_two_networks_fills_no_more_than_their_shares() -> None:
    storage, old, new = MemoryStorage(100_000), b"x" * 200, b"y" * 200
    begun = 0
    for number in range(200):
        session, key = f"session {number}", f"a{number}"
        with suppress(StoreFull):
            await storage.replace(key, None, old, visitor=Visitor(session, "198.51.100.7"))
            await storage.replace(key, old, new, visitor=Visitor(session, "203.0.113.5"))
            begun += 1
    assert 0 < begun * 456 < 45_000


async def test_a_value_that_goes_on_at_an_address_with_a_full_share_is_kept() -> None:
    storage, full = MemoryStorage(100_000), "203.0.113.5"
    for number in range(100):
        with suppress(StoreFull):
            visitor = Visitor(f"session {number}", full)
            await storage.replace(f"a{number}", None, b"x" * 200, visitor=visitor)
    await storage.replace("b", None, b"x" * 200, visitor=Visitor("b", "198.51.100.7"))
    assert await storage.replace("b", b"x" * 200, b"x" * 210, visitor=Visitor("b", full))


async def test_a_full_share_lets_values_become_smaller() -> None:
    storage, visitor = MemoryStorage(100_000), Visitor("session", "198.51.100.7")
    await fill(storage, visitor, "a")
    assert await storage.replace("a0", b"x" * 200, b"x", visitor=visitor)


async def test_the_sessions_of_one_address_leave_space_for_those_of_others(
    settings: Settings, pubsub: PubSub
) -> None:
    sessions = SessionStore(MemoryStorage(100_000), pubsub, settings, no_room)
    begun = 0
    with suppress(StoreFull):
        while begun < 1000:
            await sessions.begin(sessions.create(), "198.51.100.7")
            begun += 1
    neighbour = sessions.create()
    neighbour.session["name"] = "x" * 1000
    assert await sessions.finish(neighbour, "203.0.113.5") == ""
    assert await sessions.find(neighbour.session.identity) is not None
    assert 20 < begun < 1000
