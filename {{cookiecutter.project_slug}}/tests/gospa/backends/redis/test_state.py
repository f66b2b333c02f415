import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import msgspec
import pytest
from redis.asyncio import ConnectionPool

from gospa.backends.redis import state
from gospa.backends.redis.alarms import SETS
from gospa.backends.redis.client import connect
from gospa.backends.redis.pubsub import open_pubsub
from gospa.backends.redis.state import LOCK, LOSSES, RedisStateStore, open_state
from gospa.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store.alarms import GRAIN, look_at
from gospa.store.codec import pack_fields, unpack_fields
from gospa.store.contract import NO_TAG, Commit, Conflict, StateStore
from gospa.testing import until
from tests.gospa.backends.alarm_conformance import BRIEF, ROOM
from tests.gospa.backends.state_conformance import StateStoreConformance, change
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
    async def brief(self, settings: Settings, pubsub: PubSub) -> AsyncIterator[StateStore]:
        soon = msgspec.structs.replace(settings, room_ttl=BRIEF, visited_ttl=BRIEF)
        async with open_state(soon, pubsub) as store:
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

    @pytest.mark.parametrize("wait", [0, 100, 15_000, 20_000, 3_600_000, 40 * 86_400_000])
    async def test_an_alarm_is_looked_for_as_early_as_the_contract_says(
        self, store: StateStore, client: Any, settings: Settings, wait: int
    ) -> None:
        due = await store.alarms.add(ROOM, wait)
        sets = [f"{settings.key_prefix}alarms:{number}" for number in range(SETS)]
        (found,) = [each for key in sets for each in await client.zrange(key, 0, -1)]
        looks = {look_at(now, due) for now in range(due - wait - GRAIN, due - wait + 1)}
        assert int(found.partition(b":")[0]) in looks

    async def test_a_room_that_was_only_visited_expires_soon(
        self, store: StateStore, client: Any, settings: Settings
    ) -> None:
        key = f"{settings.key_prefix}{{{ROOM}}}"
        await store.commit(ROOM, change(exists=False, set={"a": 1}, visit=True))
        assert 0 < await client.ttl(key) <= settings.visited_ttl
        for look in (store.load(ROOM), store.latest_tags([ROOM])):
            await client.expire(key, 10)
            await look
            assert 10 < await client.ttl(key) <= settings.visited_ttl
        await store.commit(ROOM, change(set={"a": 2}, visit=True))
        assert 0 < await client.ttl(key) <= settings.visited_ttl
        await store.commit(ROOM, change(set={"a": 3}))
        assert await client.ttl(key) > settings.visited_ttl
        for look in (store.load(ROOM), store.latest_tags([ROOM])):
            await look
            assert await client.ttl(key) > settings.visited_ttl
        await store.commit(ROOM, change(set={"a": 4}, visit=True))
        assert await client.ttl(key) > settings.visited_ttl

    @pytest.mark.parametrize("name", ["my@0123", "my@0123#members"])
    async def test_a_room_of_a_session_expires_with_it(
        self, store: StateStore, client: Any, settings: Settings, name: str
    ) -> None:
        for room in (name, "my@user:ann"):
            await store.commit(room, change(exists=False, set={"a": 1}))
            await store.load(room)
        key = f"{settings.key_prefix}{{{name}}}"
        assert 0 < await client.ttl(key) <= settings.session_idle
        assert await client.ttl(f"{settings.key_prefix}{{my@user:ann}}") > settings.session_idle

    async def test_who_looks_at_a_room_keeps_it_from_expiring(
        self, store: StateStore, client: Any, settings: Settings
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        key = f"{settings.key_prefix}{{{ROOM}}}"
        for look in (store.load(ROOM), store.latest_tags([ROOM])):
            await client.expire(key, 10)
            await look
            assert await client.ttl(key) > 10
        await client.expire(key, 10)
        assert await store.load(ROOM, renew=False)
        assert await client.ttl(key) <= 10

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
        self,
        store: StateStore,
        settings: Settings,
        pubsub: PubSub,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(state, "LOCK", 3_600_000)
        async with open_state(settings, pubsub) as other:
            await other.commit(ROOM, change(exists=False, set={"a": 1}))
            stale = change(set={"a": 2}, expect=pack_fields({"a": 0}), attempt=LOSSES)
            assert isinstance(await store.commit(ROOM, stale), Conflict)
            assert isinstance(await other.commit(ROOM, change(set={"a": 3})), Conflict)
            fresh = change(set={"a": 2}, expect=pack_fields({"a": 1}), attempt=LOSSES + 1)
            assert isinstance(await store.commit(ROOM, fresh), Commit)
            assert isinstance(await other.commit(ROOM, change(set={"a": 3})), Commit)

    async def test_a_writer_with_the_lock_that_writes_nothing_after_all_gives_it_back(
        self,
        store: StateStore,
        settings: Settings,
        pubsub: PubSub,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(state, "LOCK", 3_600_000)
        async with open_state(settings, pubsub) as other:
            first = change(exists=False, set={"a": 1})
            await store.commit(ROOM, first)
            stale = change(set={"a": 2}, expect=pack_fields({"a": 0}), attempt=LOSSES)
            assert isinstance(await store.commit(ROOM, stale), Conflict)
            question = change(expect=pack_fields({"a": 1}))
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

    @pytest.mark.parametrize("room", ["sheet/OOM", "sheet/BUSY"])
    async def test_a_foreign_layout_is_corrupt_whatever_the_rooms_name(
        self, store: StateStore, client: Any, settings: Settings, room: str
    ) -> None:
        await client.hset(f"{settings.key_prefix}{{{room}}}", "h", b"\x02" + bytes(16))
        with pytest.raises(StoreCorrupt):
            await store.commit(room, change(set={"a": 1}))

    async def test_a_field_that_is_not_text_is_left_out_alone_and_logged(
        self,
        store: StateStore,
        client: Any,
        settings: Settings,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        before = await store.load(ROOM)
        await client.hset(f"{settings.key_prefix}{{{ROOM}}}", b".\xff", b"1")
        assert await store.load(ROOM) == before
        assert "is not text" in caplog.text

    async def test_a_record_of_another_layout_is_corrupt_and_nothing_is_written(
        self, store: StateStore, client: Any, settings: Settings
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        before = await store.load(ROOM)
        records = [[2, 1, 1, b"", []], {"a": 1}, [1, 1], [1, "x", 1, b"", []], [1, 1, 1, b"", None]]
        for foreign in (b"12 3 , tag", *map(msgpack.packb, records)):
            await client.set(f"{settings.key_prefix}{{{ROOM}}}:c", foreign)
            with pytest.raises(StoreCorrupt, match="layout"):
                await store.commit(ROOM, change(set={"a": 2}, source="c", numbers=1))
        assert await store.load(ROOM) == before

    @pytest.mark.parametrize("denied", ["-hset", "-hdel", "-set", "-pexpire", "-publish"])
    async def test_a_commit_of_which_a_command_is_denied_is_not_half_done(
        self, store: StateStore, client: Any, settings: Settings, pubsub: PubSub, denied: str
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1, "b": 1}))
        before = await store.load(ROOM)
        user, password = f"user{os.getpid()}", "secret"
        await client.execute_command(
            *("ACL", "SETUSER", user, "on", f">{password}", "~*", "&*", "+@all", denied)
        )
        address = settings.redis_url.replace("://", f"://{user}:{password}@", 1)
        limited = msgspec.structs.replace(settings, redis_url=address)
        try:
            async with open_state(limited, pubsub) as other:
                denied_change = change(set={"a": 2}, delete=["b"], source="c", numbers=1)
                with pytest.raises(StoreError, match=f"may not run {denied[1:].upper()}"):
                    await other.commit(ROOM, denied_change)
        finally:
            await client.execute_command("ACL", "DELUSER", user)
        assert await store.load(ROOM) == before
        assert isinstance(await store.commit(ROOM, denied_change), Commit)

    async def test_a_commit_that_fails_after_it_began_to_write_is_unknown(
        self,
        store: RedisStateStore,
        client: Any,
        settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As on Redis 6, where a script cannot ask what the user may do."""
        script = state.SCRIPT.replace(b"redis.acl_check_cmd and commands or {}", b"{}")
        script = script.replace(b"plan('PEXPIRE', room, ttl)", b"plan('PEXPIRE', room, 'x')")
        monkeypatch.setattr(state, "SCRIPT", script)
        monkeypatch.setattr(state, "DIGEST", "0" * 40)
        with pytest.raises(StoreUnavailable, match="unknown whether"):
            await store.commit(ROOM, change(exists=False, set={"a": 1}))

    async def test_what_only_deletes_is_done_while_the_store_is_full(
        self, store: StateStore, client: Any
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1, "b": 1}))
        await client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreFull):
                await store.commit(ROOM, change(set={"c": 1}, delete=["a"]))
            outcome = await store.commit(ROOM, change(delete=["a"], source="c", numbers=1))
        finally:
            await client.config_set("maxmemory", 0)
        assert isinstance(outcome, Commit)
        loaded = await store.load(ROOM)
        assert loaded is not None
        assert unpack_fields(loaded.fields) == {"b": 1}

    async def test_a_change_of_more_keys_than_a_command_takes_is_stored(
        self, store: StateStore
    ) -> None:
        values = {f"key{n}": n for n in range(5000)}
        await store.commit(ROOM, change(exists=False, set=values))
        await store.commit(ROOM, change(delete=[*values][:4000]))
        loaded = await store.load(ROOM)
        assert loaded is not None
        assert unpack_fields(loaded.fields) == {f"key{n}": n for n in range(4000, 5000)}

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
