from collections.abc import AsyncIterator

import pytest

from server.pubsub import PubSub
from server.pubsub.memory import open_pubsub
from server.settings import Settings
from server.state import memory
from server.state.memory import MemoryStateStore, open_state
from server.state.store import Commit, StateStore
from tests.state.conformance import ROOM, StateStoreConformance, change
from tests.waiting import until


class TestMemoryStateStore(StateStoreConformance):
    @pytest.fixture
    async def pubsub(self, settings: Settings) -> AsyncIterator[PubSub]:
        async with open_pubsub(settings) as pubsub:
            yield pubsub

    @pytest.fixture
    async def store(self, settings: Settings, pubsub: PubSub) -> AsyncIterator[StateStore]:
        async with open_state(settings, pubsub) as store:
            yield store

    async def test_a_room_expires(self, pubsub: PubSub) -> None:
        store = MemoryStateStore(pubsub, ttl=0.01, mutation_ttl=1)
        await store.commit(ROOM, change(exists=False, set={"a": 1}))

        async def expired() -> bool:
            return await store.load(ROOM) is None

        await until(expired)

    async def test_what_has_expired_is_forgotten(
        self, pubsub: PubSub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(memory, "SWEEP", 0)
        store = MemoryStateStore(pubsub, ttl=0.01, mutation_ttl=0.01)
        one = {"client": b"c" * 16, "mutation": 1}
        await store.commit(ROOM, change(exists=False, set={"a": 1}, **one))

        async def forgotten() -> bool:
            await store.commit("other", change(exists=await store.load("other") is not None))
            return list(store._rooms) == ["other"]  # noqa: SLF001 - nothing else shows memory

        await until(forgotten)

    async def test_a_clients_number_is_forgotten_after_its_time(
        self, pubsub: PubSub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(memory, "SWEEP", 0)
        store = MemoryStateStore(pubsub, ttl=60, mutation_ttl=0.01)
        one = {"client": b"c" * 16, "mutation": 1}
        await store.commit(ROOM, change(exists=False, **one))

        async def forgotten() -> bool:
            outcome = await store.commit(ROOM, change(**one))
            return isinstance(outcome, Commit) and not outcome.repeated

        await until(forgotten)
