from collections.abc import AsyncIterator

import pytest

from gospa.backends.memory import state
from gospa.backends.memory.pubsub import open_pubsub
from gospa.backends.memory.state import MemoryStateStore, open_state
from gospa.errors import StoreFull
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store.contract import MAX_REFUSED, Commit, StateStore
from gospa.testing import until
from tests.gospa.backends.state_conformance import ROOM, StateStoreConformance, change


@pytest.fixture
async def pubsub(settings: Settings) -> AsyncIterator[PubSub]:
    async with open_pubsub(settings) as pubsub:
        yield pubsub


class TestMemoryStateStore(StateStoreConformance):
    @pytest.fixture
    async def store(self, settings: Settings, pubsub: PubSub) -> AsyncIterator[StateStore]:
        async with open_state(settings, pubsub) as store:
            yield store

    async def test_a_room_expires(self, pubsub: PubSub) -> None:
        store = MemoryStateStore(pubsub, Settings(room_ttl=0.01))
        await store.commit(ROOM, change(exists=False, set={"a": 1}))

        async def expired() -> bool:
            return await store.load(ROOM) is None

        await until(expired)

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
