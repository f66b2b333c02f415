"""What happens to sessions on every storage. Subclass it and give it a `storage` fixture."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import ANY

import pytest

from gospa.errors import StoreCorrupt, StoreFull, StoreUnavailable
from gospa.sessions import index
from gospa.sessions.inspection import KINDS, inspect_records
from gospa.sessions.record import SessionRecord
from gospa.sessions.rooms import SessionRooms
from gospa.sessions.store import SessionStore
from gospa.settings import Settings
from gospa.storage import Storage
from gospa.testing import until


class Bus:
    """A pub/sub that keeps published messages; sessions publish, and never subscribe."""

    connected = True
    fault = None

    def __init__(self) -> None:
        self.told: list[str] = []

    async def publish(self, channel: str, message: bytes) -> None:
        self.told.append(message.decode())

    async def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> Any:
        raise AssertionError("a session store subscribes to nothing")


class Interrupted:
    """A storage before whose next write something else happens."""

    def __init__(self, storage: Storage, between: Callable[[], Awaitable[Any]]) -> None:
        self._storage = storage
        self._between: Callable[[], Awaitable[Any]] | None = between

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def replace(self, key: str, *arguments: Any, **options: Any) -> bool:
        if key.startswith("session:") and self._between is not None:
            between, self._between = self._between, None
            await between()
        return await self._storage.replace(key, *arguments, **options)


async def no_room(room: str) -> None:
    """For sessions that have no rooms."""
    raise AssertionError(f"{room} is not one of theirs")


async def begin(store: SessionStore, user: str | None = None, **values: Any) -> SessionRecord:
    """A stored session."""
    record = store.create()
    record.session.update(values)
    if user is None:
        assert await store.save(record)
    else:
        await log_in(store, record, user)
    return record


async def log_in(store: SessionStore, record: SessionRecord, user: str) -> bool:
    record.session.log_in(user, time.time())
    return await store.log_in(record)


async def load(store: SessionStore, token: str | None) -> SessionRecord:
    record = await store.load(token or "")
    assert record is not None
    return record


class SessionLifecycle:
    @pytest.fixture
    def bus(self) -> Bus:
        return Bus()

    @pytest.fixture
    def store(self, storage: Storage, bus: Bus) -> SessionStore:
        return SessionStore(storage, bus, Settings(), no_room)

    def interrupted(self, storage: Storage, between: Callable[[], Awaitable[Any]]) -> SessionStore:
        return SessionStore(Interrupted(storage, between), Bus(), Settings(), no_room)

    async def test_a_stored_session_is_opened_by_its_token_alone(self, store: SessionStore) -> None:
        record = await begin(store, a=1)
        assert record.token is not None
        assert dict((await load(store, record.token)).session) == {"a": 1}
        assert await store.load(record.token[:-1] + "-") is None or record.token[-1] == "-"
        assert await store.load("0" * 32 + record.token[32:]) is None

    async def test_a_change_of_another_request_survives_a_rotation(
        self, store: SessionStore
    ) -> None:
        token = (await begin(store, a=0, b=0)).token
        slow, login = await load(store, token), await load(store, token)
        assert await log_in(store, login, "ann")
        slow.session["a"] = 1
        assert await store.save(slow)
        session = (await load(store, login.token)).session
        assert (session.user, dict(session)) == ("ann", {"a": 1, "b": 0})

    async def test_changes_of_two_requests_to_an_empty_session_are_both_kept(
        self, store: SessionStore
    ) -> None:
        token = (await begin(store)).token
        one, other, login = [await load(store, token) for _ in range(3)]
        one.session["a"], other.session["b"] = 1, 2
        assert await log_in(store, login, "ann")
        assert await store.save(one)
        assert await store.save(other)
        assert dict((await load(store, login.token)).session) == {"a": 1, "b": 2}

    async def test_a_rotation_keeps_what_another_request_changed_first(
        self, store: SessionStore
    ) -> None:
        token = (await begin(store, a=0)).token
        login, other = await load(store, token), await load(store, token)
        other.session["a"] = 1
        assert await store.save(other)
        assert await log_in(store, login, "ann")
        assert dict((await load(store, login.token)).session) == {"a": 1}

    async def test_a_replaced_token_opens_the_session_for_a_moment_and_gets_no_new_one(
        self, store: SessionStore
    ) -> None:
        old = (await begin(store)).token
        renewed = await load(store, old)
        assert await store.rotate(renewed)
        late = await load(store, old)
        assert late.replaced
        late.session["a"] = 1
        assert await store.rotate(late)
        assert late.token is None
        assert dict((await load(store, renewed.token)).session) == {"a": 1}

    async def test_a_login_with_a_replaced_token_begins_a_session_of_its_own(
        self, store: SessionStore
    ) -> None:
        old = (await begin(store, a=1)).token
        first = await load(store, old)
        assert await log_in(store, first, "ann")
        again = await load(store, old)
        assert await log_in(store, again, "ann")
        records = [await load(store, record.token) for record in (first, again)]
        assert [dict(record.session) for record in records] == [{"a": 1}, {}]
        assert len({record.session.identity for record in records}) == 2
        assert not any(record.replaced for record in records)
        assert len(await store.sessions_of("ann")) == 2

    async def test_a_replaced_token_opens_nothing_later(self, storage: Storage, bus: Bus) -> None:
        store = SessionStore(storage, bus, Settings(session_grace=0.05), no_room)
        old = (await begin(store)).token
        assert await log_in(store, await load(store, old), "ann")

        async def refused() -> bool:
            return await store.load(old or "") is None

        await until(refused)

    async def test_a_token_replaced_twice_opens_nothing(self, store: SessionStore) -> None:
        first = (await begin(store)).token
        second = await load(store, first)
        assert await log_in(store, second, "ann")
        third = await load(store, second.token)
        assert await store.rotate(third)
        assert await store.load(first or "") is None
        assert (await load(store, second.token)).replaced
        assert not (await load(store, third.token)).replaced

    async def test_of_rotations_at_once_one_gives_a_token_and_all_keep_their_changes(
        self, store: SessionStore
    ) -> None:
        token = (await begin(store)).token
        records = [await load(store, token) for _ in range(5)]
        for number, record in enumerate(records):
            record.session[str(number)] = number
        assert all(await asyncio.gather(*map(store.rotate, records)))
        (given,) = [record.token for record in records if record.token]
        stored = await load(store, given)
        assert not stored.replaced
        assert dict(stored.session) == {str(number): number for number in range(5)}

    async def test_every_login_gives_a_token_that_opens_its_users_session(
        self, store: SessionStore
    ) -> None:
        token = (await begin(store, cart=1)).token
        records = [await load(store, token) for _ in range(4)]
        users = ["ann", "bob", "ann", "eve"]
        for user, record in zip(users, records, strict=True):
            record.session["of"] = user
        outcomes = await asyncio.gather(*map(log_in, [store] * 4, records, users))
        assert outcomes == [True] * 4
        for user, record in zip(users, records, strict=True):
            session = (await load(store, record.token)).session
            assert (session.user, dict(session)) == (user, {"cart": 1, "of": user})
        for user in users:
            await store.log_out_everywhere(user)
        assert [await store.load(record.token or "") for record in records] == [None] * 4

    async def test_a_rotation_does_not_revive_what_was_destroyed(self, store: SessionStore) -> None:
        token = (await begin(store)).token
        renewal, login, logout = [await load(store, token) for _ in range(3)]
        identity = login.session.identity
        await store.destroy(logout)
        assert not await store.rotate(renewal)
        assert renewal.token is None
        assert await log_in(store, login, "ann")
        assert login.session.identity != identity
        assert await store.find(identity) is None

    async def test_a_login_whose_answer_was_lost_can_be_repeated(
        self, storage: Storage, bus: Bus
    ) -> None:
        store = SessionStore(storage, bus, Settings(session_grace=0.05), no_room)
        old = (await begin(store)).token
        again = await load(store, old)
        assert await log_in(store, await load(store, old), "ann")
        assert await log_in(store, again, "ann")

        async def refused() -> bool:
            return await store.load(old or "") is None

        await until(refused)
        assert (await load(store, again.token)).session.user == "ann"

    async def test_a_rotation_that_fails_leaves_the_old_token_good(
        self, store: SessionStore, storage: Storage
    ) -> None:
        token = (await begin(store)).token

        async def fail() -> None:
            raise StoreUnavailable("away")

        failing = self.interrupted(storage, fail)
        with pytest.raises(StoreUnavailable):
            await log_in(failing, await load(failing, token), "ann")
        record = await load(store, token)
        assert (record.replaced, record.session.user) == (False, None)

    async def test_renewal_and_a_late_save_do_not_revive_what_was_destroyed(
        self, store: SessionStore
    ) -> None:
        token = (await begin(store)).token
        late, renewal = await load(store, token), await load(store, token)
        await store.destroy(await load(store, token))
        late.session["a"] = 1
        renewal.session.renewed = 0.0
        assert not await store.touch(late)
        assert not await store.touch(renewal)
        assert await store.load(token or "") is None

    async def test_a_session_is_renewed_once_in_a_tenth_of_its_idle_time(
        self, store: SessionStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = await begin(store)
        raw, now = record.raw, time.time()
        assert await store.touch(record)
        assert record.raw == raw
        monkeypatch.setattr(time, "time", lambda: now + store.settings.session_idle / 9)
        assert await store.touch(await load(store, record.token))
        assert (await load(store, record.token)).session.renewed > now

    async def test_a_session_is_kept_also_if_a_host_whose_clock_is_behind_renews_it(
        self, store: SessionStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = await begin(store, "ann")
        now = time.time()
        for clock in (now - 5, now + store.settings.session_idle / 2):
            monkeypatch.setattr(time, "time", lambda clock=clock: clock)
            assert await store.touch(await load(store, record.token))
            assert (await load(store, record.token)).session.kept
        assert (await load(store, record.token)).session.renewed > now

    @pytest.mark.parametrize(("idle", "absolute"), [(0.05, 60.0), (60.0, 0.05)])
    async def test_idle_and_absolute_time_end_a_session(
        self, storage: Storage, bus: Bus, idle: float, absolute: float
    ) -> None:
        settings = Settings(session_idle=idle, session_absolute=absolute)
        store = SessionStore(storage, bus, settings, no_room)
        token = (await begin(store)).token

        async def ended() -> bool:
            return await store.load(token or "") is None

        await until(ended)

    async def test_a_login_begins_the_absolute_time_anew(
        self, store: SessionStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = await begin(store)
        began = record.session.created
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 1000)
        login = await load(store, record.token)
        await log_in(store, login, "ann")
        assert (await load(store, login.token)).session.created > began + 999

    @pytest.mark.parametrize(
        "blob", [b"", b"\xc1", b"foreign", b"\x90", bytes(1000), b"\x91" * 2000]
    )
    async def test_a_corrupt_session_is_none(
        self, store: SessionStore, storage: Storage, blob: bytes
    ) -> None:
        record = await begin(store)
        await storage.set(f"session:{record.session.identity}", blob)
        assert await store.load(record.token or "") is None

    async def test_records_that_cannot_be_read_are_named_and_harm_no_other(
        self, store: SessionStore, storage: Storage
    ) -> None:
        sound, spoilt = await begin(store, "ann"), await begin(store, "bob", good=1)
        await storage.set("session:torn", (sound.raw or b"")[:-3])
        await storage.set("session:other", sound.raw or b"")
        foreign = (spoilt.raw or b"").replace(b"good\x01", b"good\xd4\x05\x00")
        await storage.set(f"session:{spoilt.session.identity}", foreign)
        await storage.set("user:torn", b"")
        await storage.set("rooms:torn", b"\x05")
        found = [each for kind in KINDS async for each in inspect_records(storage, kind) if each]
        assert {each["key"]: each["reason"] for each in found} == {
            "session:torn": "it is not a session as this release stores them",
            "session:other": f"it is the session of another identity, {sound.session.identity!r}",
            f"session:{spoilt.session.identity}": ANY,
            "user:torn": ANY,
            "rooms:torn": "it is not a list of names",
        }
        assert {each.session.user for each in (await store.everybody()).values()} == {"ann", "bob"}
        assert (await load(store, sound.token)).session.user == "ann"

    @pytest.mark.parametrize("blob", [b"", b"\xc1", b"\x05", b"\x91\x05"])
    async def test_a_session_whose_list_of_rooms_cannot_be_read_still_ends(
        self, store: SessionStore, storage: Storage, blob: bytes
    ) -> None:
        deleted: list[str] = []

        async def delete(room: str) -> None:
            deleted.append(room)

        rooms = SessionRooms(storage, 60, delete)
        await storage.set("rooms:0", blob)
        await rooms.delete_all("0")
        assert deleted == []
        await storage.set("rooms:0", blob)
        await rooms.add("0", "own@0")
        await rooms.delete_all("0")
        assert deleted == ["own@0"]

    async def test_a_room_may_come_before_its_session_is_stored_and_while_it_ends(
        self, storage: Storage, bus: Bus
    ) -> None:
        deleted: list[str] = []

        async def delete(room: str) -> None:
            deleted.append(room)

        store = SessionStore(storage, bus, Settings(), delete)
        record = store.create()
        identity = record.session.identity
        await store.own_room(identity, "early")
        assert await store.save(record)
        await store.own_room(identity, "own")
        assert deleted == []
        await store.destroy(record)
        assert deleted == ["early", "own"]
        await store.own_room(identity, "late")
        assert deleted == ["early", "own", "late"]
        assert [key async for key in storage.keys("session:")] == []

    async def test_the_rooms_of_a_session_are_deleted_also_while_the_storage_is_full(
        self, storage: Storage, bus: Bus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deleted: list[str] = []

        async def delete(room: str) -> None:
            deleted.append(room)

        async def full(*_: Any, **__: Any) -> bool:
            raise StoreFull("full")

        store = SessionStore(storage, bus, Settings(), delete)
        record = await begin(store)
        await store.own_room(record.session.identity, "own")
        monkeypatch.setattr(storage, "replace", full)
        await store.destroy(record)
        assert deleted == ["own"]

    async def test_a_session_under_anothers_key_is_none(
        self, store: SessionStore, storage: Storage
    ) -> None:
        record = await begin(store)
        await storage.set("session:" + "0" * 32, record.raw or b"")
        assert await store.find("0" * 32) is None

    async def test_a_users_sessions_are_listed(self, store: SessionStore) -> None:
        mine = [await begin(store, "ann") for _ in range(3)]
        await begin(store, "bob")
        await begin(store)
        listed = await store.sessions_of("ann")
        assert [s.identity for s in listed] == [t.session.identity for t in mine]
        assert await store.sessions_of("nobody") == []

    async def test_the_sessions_of_everybody_are_listed(self, store: SessionStore) -> None:
        records = [await begin(store, "ann"), await begin(store, "bob"), await begin(store)]
        await store.destroy(await begin(store, "ann"))
        assert await store.everybody() == {t.session.identity: ANY for t in records}

    async def test_logging_out_everywhere_ends_all_sessions_of_one_user(
        self, store: SessionStore, bus: Bus
    ) -> None:
        mine = [await begin(store, "ann") for _ in range(3)]
        other = await begin(store, "bob")
        bus.told.clear()
        await store.log_out_everywhere("ann")
        for record in mine:
            assert await store.load(record.token or "") is None
        assert await store.load(other.token or "") is not None
        assert await store.sessions_of("ann") == []
        assert bus.told == [record.session.identity for record in mine]
        assert await store.sessions_of((await begin(store, "ann")).session.user or "") != []

    async def test_an_index_that_points_to_dead_sessions_does_no_harm(
        self, store: SessionStore, storage: Storage
    ) -> None:
        dead, living = await begin(store, "ann"), await begin(store, "ann")
        await storage.delete(f"session:{dead.session.identity}")
        assert [s.identity for s in await store.sessions_of("ann")] == [living.session.identity]
        await store.log_out_everywhere("ann")
        assert await store.load(living.token or "") is None

    async def test_a_logout_leaves_the_index(self, store: SessionStore) -> None:
        record, other = await begin(store, "ann"), await begin(store, "ann")
        await store.destroy(record)
        entry = await store._index.read("ann")  # noqa: SLF001
        assert list(entry.identities) == [other.session.identity]

    async def test_a_users_oldest_session_ends_when_there_are_too_many(
        self, store: SessionStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index, "MAX_SESSIONS", 2)
        records = [await begin(store, "ann") for _ in range(3)]
        living = [await store.load(record.token or "") is not None for record in records]
        assert living == [False, True, True]

    @pytest.mark.parametrize("stored", [False, True])
    async def test_a_login_that_logging_out_everywhere_overtakes_is_undone(
        self, store: SessionStore, storage: Storage, *, stored: bool
    ) -> None:
        racing = self.interrupted(storage, lambda: store.log_out_everywhere("ann"))
        record = racing.create()
        if stored:
            record = await load(racing, (await begin(store)).token)
        assert not await log_in(racing, record, "ann")
        assert await store.load(record.token or "") is None
        assert await store.sessions_of("ann") == []

    async def test_many_logins_at_once_are_all_listed(self, store: SessionStore) -> None:
        await asyncio.gather(*(begin(store, "ann") for _ in range(20)))
        assert len(await store.sessions_of("ann")) == 20

    async def test_logins_and_logging_out_everywhere_at_once_leave_nothing_unlisted(
        self, store: SessionStore
    ) -> None:
        records = [store.create() for _ in range(20)]
        await asyncio.gather(
            *(log_in(store, record, "ann") for record in records[:10]),
            store.log_out_everywhere("ann"),
            *(log_in(store, record, "ann") for record in records[10:]),
        )
        listed = {session.identity for session in await store.sessions_of("ann")}
        for record in records:
            living: SessionRecord | None = await store.find(record.session.identity)
            assert (living is not None) is (record.session.identity in listed)

    async def test_a_corrupt_index_refuses_logins_and_names_itself(
        self, store: SessionStore, storage: Storage
    ) -> None:
        await begin(store, "ann")
        await storage.set(index._key("ann"), b"junk")  # noqa: SLF001
        with pytest.raises(StoreCorrupt, match="index"):
            await begin(store, "ann")

    async def test_no_token_is_stored(self, storage: Storage, bus: Bus) -> None:
        written: list[str] = []

        class Seen(Interrupted):
            async def replace(self, key: str, *arguments: Any, **options: Any) -> bool:
                written.append(f"{key} {arguments}")
                return await super().replace(key, *arguments, **options)

        async def nothing() -> None:
            pass

        store = SessionStore(Seen(storage, nothing), bus, Settings(), no_room)
        record = await begin(store, "ann", a=1)
        secret = (record.token or "")[32:]
        assert len(written) >= 2
        assert secret not in " ".join([*written, *bus.told])
