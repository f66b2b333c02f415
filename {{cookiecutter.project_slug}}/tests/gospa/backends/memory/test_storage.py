from collections.abc import AsyncIterator

import pytest

from gospa.backends.memory import storage as memory
from gospa.backends.memory.storage import MemoryStorage, open_storage
from gospa.errors import StoreFull
from gospa.settings import Settings
from gospa.storage import Storage
from tests.gospa.backends.storage_conformance import StorageConformance
from tests.gospa.sessions.lifecycle import SessionLifecycle


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
    monkeypatch.setattr(memory, "SWEEP", 1)
    storage = MemoryStorage(1000)
    for key in "abcdefgh":
        await storage.set(key, b"x" * 300, ttl=0)
    await storage.set("i", b"x" * 300)
    assert await storage.get("i") is not None
