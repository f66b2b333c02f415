from collections.abc import AsyncIterator

import pytest

from server.sessions.redis import open_storage
from server.sessions.storage import Storage
from server.sessions.store import SessionStore
from server.settings import Settings
from tests.sessions.conformance import StorageConformance
from tests.sessions.lifecycle import Bus, SessionLifecycle, begin


@pytest.fixture
async def storage(settings: Settings) -> AsyncIterator[Storage]:
    async with open_storage(settings) as storage:
        yield storage


class TestRedisStorage(StorageConformance):
    pass


class TestRedisSessions(SessionLifecycle):
    pass


async def test_a_key_of_the_wrong_type_is_no_session(settings: Settings) -> None:
    async with open_storage(settings) as storage:
        store = SessionStore(storage, Bus(), settings)
        ticket = await begin(store)
        key = f"{settings.key_prefix}session:{ticket.session.identity}"
        client = storage._client  # noqa: SLF001
        await client.delete(key)
        await client.hset(key, "v", "1")
        assert await store.load(ticket.token or "") is None


async def test_no_token_is_anywhere_in_redis(settings: Settings) -> None:
    async with open_storage(settings) as storage:
        store = SessionStore(storage, Bus(), settings)
        ticket = await begin(store, "ann", a=1)
        client = storage._client  # noqa: SLF001
        keys = [key async for key in client.scan_iter(f"{settings.key_prefix}*")]
        assert len(keys) == 2
        kept = b" ".join([*keys, *[await client.get(key) for key in keys]])
        assert (ticket.token or "")[32:].encode() not in kept


async def test_everything_stored_ends_by_itself(settings: Settings) -> None:
    async with open_storage(settings) as storage:
        await begin(SessionStore(storage, Bus(), settings), "ann")
        client = storage._client  # noqa: SLF001
        async for key in client.scan_iter(f"{settings.key_prefix}*"):
            assert 0 < await client.ttl(key) <= settings.session_absolute
