import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import ConnectionPool

from gospa.backends.redis.client import connect
from gospa.backends.redis.pubsub import open_pubsub
from gospa.backends.redis.state import LOCK, LOSSES, RedisStateStore, open_state
from gospa.errors import StoreCorrupt, StoreFull, StoreUnavailable
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store.codec import pack_fields
from gospa.store.contract import NO_TAG, Commit, Conflict, StateStore
from gospa.testing import until
from tests.gospa.backends.state_conformance import ROOM, StateStoreConformance, change
from tests.gospa.serving import free_port


class TestRedisStateStore(StateStoreConformance):
    @pytest.fixture
    async def pubsub(self, settings: Settings) -> AsyncIterator[PubSub]:
        async with open_pubsub(settings) as pubsub:
            yield pubsub

    @pytest.fixture
    async def store(self, settings: Settings, pubsub: PubSub) -> AsyncIterator[StateStore]:
        async with open_state(settings, pubsub) as store:
            yield store

    @pytest.fixture
    async def client(self, settings: Settings) -> AsyncIterator[Any]:
        async with connect(settings) as client:
            yield client

    async def test_a_room_is_one_key_that_expires(
        self, store: StateStore, client: Any, settings: Settings
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        key = f"{settings.key_prefix}{{{ROOM}}}"
        assert await client.keys(f"{settings.key_prefix}*") == [key.encode()]
        assert 0 < await client.ttl(key) <= settings.room_ttl

    async def test_who_looks_at_a_room_keeps_it_from_expiring(
        self, store: StateStore, client: Any, settings: Settings
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        key = f"{settings.key_prefix}{{{ROOM}}}"
        for look in (store.load(ROOM), store.latest_tags([ROOM])):
            await client.expire(key, 10)
            await look
            assert await client.ttl(key) > 10

    async def test_what_was_done_in_a_room_that_began_anew_is_of_no_later_version(
        self, store: StateStore
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        await store.commit(ROOM, change(set={"a": 2}, client=b"c", mutation=1))
        await store.delete(ROOM)
        again = change(exists=False, set={"a": 2}, client=b"c", mutation=1)
        assert await store.commit(ROOM, again) == Commit(0, repeated=True)
        await store.commit(ROOM, change(exists=False, set={"a": 3}))
        assert await store.commit(ROOM, again) == Commit(1, repeated=True)

    async def test_a_server_that_forgot_the_script_is_given_it_again(
        self, store: StateStore, client: Any
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        await client.script_flush()
        assert isinstance(await store.commit(ROOM, change(set={"a": 2})), Commit)

    async def test_commits_of_one_step_share_a_round_trip(
        self, client: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, pool = RedisStateStore(client, settings), client.connection_pool
        await store.load(ROOM)
        taken = []
        get_connection = pool.get_connection

        async def count() -> Any:
            taken.append(connection := await get_connection())
            return connection

        monkeypatch.setattr(pool, "get_connection", count)
        await asyncio.gather(
            *(store.commit(f"sheet/{n}", change(exists=False, set={"n": n})) for n in range(50))
        )
        assert len(taken) == 1

    async def test_a_writer_that_lost_often_is_let_through_before_all_others(
        self, store: StateStore, settings: Settings, pubsub: PubSub
    ) -> None:
        async with open_state(settings, pubsub) as other:
            await other.commit(ROOM, change(exists=False, set={"a": 1}))
            stale = change(set={"a": 2}, expect=pack_fields({"a": 0}), attempt=LOSSES)
            assert isinstance(await store.commit(ROOM, stale), Conflict)
            assert isinstance(await other.commit(ROOM, change(set={"a": 3})), Conflict)
            fresh = change(set={"a": 2}, expect=pack_fields({"a": 1}), attempt=LOSSES + 1)
            assert isinstance(await store.commit(ROOM, fresh), Commit)
            assert isinstance(await other.commit(ROOM, change(set={"a": 3})), Commit)

    async def test_a_writer_with_the_lock_that_writes_nothing_after_all_gives_it_back(
        self, store: StateStore, settings: Settings, pubsub: PubSub
    ) -> None:
        async with open_state(settings, pubsub) as other:
            first = change(exists=False, set={"a": 1})
            await store.commit(ROOM, first)
            stale = change(set={"a": 2}, expect=pack_fields({"a": 0}), attempt=LOSSES)
            assert isinstance(await store.commit(ROOM, stale), Conflict)
            question = change(expect_tag=first.tag)
            assert await store.commit(ROOM, question) == Commit(1, first.tag)
            assert isinstance(await other.commit(ROOM, change(set={"a": 3})), Commit)

    async def test_a_writer_that_dies_with_the_lock_stops_nobody_for_long(
        self, store: StateStore, settings: Settings, pubsub: PubSub
    ) -> None:
        async with open_state(settings, pubsub) as other:
            await other.commit(ROOM, change(exists=False, set={"a": 1}))
            stale = change(set={"a": 2}, expect=pack_fields({"a": 0}), attempt=LOSSES)
            assert isinstance(await store.commit(ROOM, stale), Conflict)

            async def goes_on() -> bool:
                return isinstance(await other.commit(ROOM, change(set={"a": 3})), Commit)

            await until(goes_on)
            assert LOCK < 1000  # milliseconds

    @pytest.mark.parametrize("value", ["a string", {"x": "no version"}])
    async def test_a_foreign_value_under_a_rooms_key_is_corrupt(
        self, store: StateStore, client: Any, settings: Settings, value: Any
    ) -> None:
        key = f"{settings.key_prefix}{{{ROOM}}}"
        await (
            client.set(key, value) if isinstance(value, str) else client.hset(key, mapping=value)
        )
        with pytest.raises(StoreCorrupt):
            await store.load(ROOM)
        assert (await store.latest_tags([ROOM, "sheet/other"]))["sheet/other"] == NO_TAG

    async def test_after_a_lost_answer_no_error_says_that_nothing_was_written(
        self, store: RedisStateStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first may reach a server that hung after the second was refused there."""
        errors = [StoreUnavailable("no answer"), StoreFull("out of memory")]

        async def fail(_: Any) -> Any:
            raise errors.pop(0)

        monkeypatch.setattr(store, "_evaluate", fail)
        with pytest.raises(StoreUnavailable, match="unknown"):
            await store.commit(ROOM, change(set={"a": 1}, client=b"c", mutation=1))
        errors = [StoreFull("out of memory")]
        with pytest.raises(StoreFull):
            await store.commit(ROOM, change(set={"a": 1}, client=b"c", mutation=1))

    async def test_a_connection_that_closes_as_it_is_used_is_unavailable(
        self, store: StateStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def get_connection(pool: ConnectionPool) -> None:
            raise RuntimeError("unable to perform operation on <...>; the handler is closed")

        monkeypatch.setattr(ConnectionPool, "get_connection", get_connection)
        with pytest.raises(StoreUnavailable):
            await store.commit(ROOM, change(exists=False, set={"a": 1}))

    async def test_nobody_waits_for_a_commit_that_failed_unexpectedly(
        self, store: StateStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def get_connection(pool: ConnectionPool) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(ConnectionPool, "get_connection", get_connection)
        with pytest.raises(ZeroDivisionError):
            await store.commit(ROOM, change(exists=False, set={"a": 1}))

    async def test_a_server_that_is_away_is_unavailable(self, pubsub: PubSub) -> None:
        away = Settings(redis_url=f"redis://127.0.0.1:{free_port()}", key_prefix="x:")
        async with open_state(away, pubsub) as store:
            with pytest.raises(StoreUnavailable):
                await store.load(ROOM)
            with pytest.raises(StoreUnavailable):
                await store.commit(ROOM, change())
            with pytest.raises(StoreUnavailable):
                await store.latest_tags([ROOM])
