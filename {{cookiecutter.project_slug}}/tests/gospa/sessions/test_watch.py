"""Sockets end with their sessions, and follow what these allow."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from unittest.mock import AsyncMock

import pytest
from sanic import Sanic
from websockets.exceptions import ConnectionClosed

import gospa
from gospa import Access, Room, Session, State, action, tasks
from gospa.errors import StoreUnavailable
from gospa.live.current import CurrentSession
from gospa.sessions.record import SessionRecord
from gospa.sessions.session import new_session
from gospa.sessions.store import UNUSED, SessionStore
from gospa.sessions.watch import Use
from gospa.testing import OpenApp, Refused, logged_in, until
from tests.gospa.raw_client import RawClient
from tests.gospa.wire import message

SLOW = 3600.0  # an interval that no test waits for
QUICK = 0.05


class Count(State):
    count: int = 0


class Members(Room[Count]):
    """A room for those who are logged in and not banned."""

    pattern = "members"

    async def authorize(self, session: Session) -> Access:
        banned = session.user is None or session.get("banned", False)
        return Access.NONE if banned else Access.FULL

    @action
    def add(self, state: Count, member: gospa.Member) -> list[Any]:
        state.count += 1
        return [state.count, member.user]


async def load(app: Sanic, cookie: str) -> SessionRecord:
    record = await app.ctx.sessions.load(cookie.partition("=")[2])
    assert record is not None
    return record


async def close_code(member: RawClient) -> int:
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(40):
            await member.until(lambda _: False)
    assert member.websocket.close_code is not None
    return member.websocket.close_code


@contextlib.asynccontextmanager
async def ann(open_app: OpenApp, **settings: Any) -> AsyncIterator[tuple[Sanic, str, RawClient]]:
    """The app, ann's cookie, and a socket of hers in the room `members`."""
    async with open_app([Members], **settings) as (app, address):
        cookie = await logged_in(app, "ann")
        async with RawClient.connect(address, cookie=cookie) as member:
            await member.join("members")
            yield app, cookie, member


async def test_a_logout_ends_the_sessions_sockets_for_good(open_app: OpenApp) -> None:
    async with ann(open_app, session_check_interval=SLOW) as (app, cookie, member):
        await app.ctx.sessions.destroy(await load(app, cookie))
        assert await close_code(member) == 4502
        await until(lambda: not app.ctx.connections)


class Stuck(Members):
    """A room that is not answered about those who are in it."""

    pattern = "stuck"

    async def authorize(self, session: Session) -> Access:
        if self.app.ctx.stuck:
            self.app.ctx.asked = True
            await asyncio.Event().wait()
        return Access.FULL


async def test_a_logout_does_not_wait_for_what_a_room_of_others_allows(open_app: OpenApp) -> None:
    async with open_app([Members, Stuck], session_check_interval=QUICK) as (app, address):
        app.ctx.stuck = app.ctx.asked = False
        cookie, others = await logged_in(app, "ann"), await logged_in(app, "bob")
        async with (
            RawClient.connect(address, cookie=cookie) as member,
            RawClient.connect(address, cookie=others) as other,
        ):
            await member.join("members")
            await other.join("stuck")
            app.ctx.stuck = True
            await until(lambda: app.ctx.asked)
            await app.ctx.sessions.destroy(await load(app, cookie))
            assert await close_code(member) == 4502


async def test_logging_out_everywhere_ends_the_sockets_of_one_user(open_app: OpenApp) -> None:
    async with open_app([Members], session_check_interval=SLOW) as (app, address):
        cookies = [await logged_in(app, user) for user in ("ann", "ann", "bob")]
        async with contextlib.AsyncExitStack() as stack:
            one, two, other = [
                await stack.enter_async_context(RawClient.connect(address, cookie=cookie))
                for cookie in cookies
            ]
            await other.join("members")
            await app.ctx.sessions.log_out_everywhere("ann")
            assert await close_code(one) == await close_code(two) == 4502
            assert await other.call("members", "add") == [1, "bob"]


async def test_a_new_token_has_sockets_come_again_with_it(open_app: OpenApp) -> None:
    async with ann(open_app, session_check_interval=SLOW) as (app, cookie, member):
        await app.ctx.sessions.rotate(await load(app, cookie))
        assert await close_code(member) == 4001


@pytest.fixture
def _announcements_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(*_: Any) -> None:
        pass

    monkeypatch.setattr(SessionStore, "_announce", lose)


@pytest.mark.usefixtures("_announcements_lost")
async def test_a_lost_message_keeps_no_socket_open(open_app: OpenApp) -> None:
    async with ann(open_app, session_check_interval=QUICK) as (app, cookie, member):
        await app.ctx.sessions.destroy(await load(app, cookie))
        assert await close_code(member) == 4502


@pytest.mark.usefixtures("_announcements_lost")
async def test_after_a_gap_in_the_messages_all_sessions_are_checked(open_app: OpenApp) -> None:
    async with ann(open_app, session_check_interval=SLOW) as (app, cookie, member):
        await app.ctx.sessions.destroy(await load(app, cookie))
        app.ctx.session_watch.on_gap()
        assert await close_code(member) == 4502


class Clock:
    """The time of day, which a test lets pass."""

    passed = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock, now = Clock(), time.time
    monkeypatch.setattr(time, "time", lambda: now() + clock.passed)
    return clock


@pytest.mark.parametrize("limit", ["session_idle", "session_absolute"])
async def test_a_session_that_expires_ends_its_sockets(
    open_app: OpenApp, clock: Clock, limit: str
) -> None:
    settings = {limit: 1000, "session_check_interval": QUICK}
    async with ann(open_app, **settings) as (_, _, member):
        clock.passed = 1001
        assert await close_code(member) == 4502


async def test_a_socket_that_is_used_keeps_its_session_from_idling(
    open_app: OpenApp, clock: Clock
) -> None:
    settings = {"session_idle": 1000, "session_check_interval": QUICK}
    async with ann(open_app, **settings) as (app, cookie, member):
        for _ in range(4):
            clock.passed += 600
            now = time.time()

            async def renewed(now: float = now) -> bool:
                await member.call("members", "add")
                return bool((await load(app, cookie)).session.renewed >= now)

            await until(renewed)


async def test_a_session_that_was_begun_by_a_socket_lasts_once_it_is_used(
    open_app: OpenApp,
) -> None:
    async with open_app() as (app, address), RawClient.connect(address) as member:

        async def remaining() -> float:
            session = (await load(app, member.cookie)).session
            return float(session.renewed + app.ctx.settings.session_idle - time.time())

        assert await remaining() <= UNUSED
        await member.join("sheet/a")
        await member.call("sheet/a", "add")

        async def lasts() -> bool:
            return await remaining() > UNUSED

        await until(lasts)


async def test_pings_do_not_keep_a_session_from_idling(open_app: OpenApp, clock: Clock) -> None:
    settings = {"session_idle": 1000, "session_check_interval": QUICK, "frames_per_second": 1e9}
    async with ann(open_app, **settings) as (app, _, member):
        read, checked = app.ctx.sessions.read, asyncio.Event()

        async def tell(identities: Sequence[str]) -> Any:
            checked.set()
            return await read(identities)

        app.ctx.sessions.read = tell
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(40):
                while True:
                    await member.send(5)
                    await member.until(lambda m: m[0] == 7)
                    checked.clear()
                    await until(lambda: checked.is_set() or bool(member.websocket.close_code))
                    clock.passed += 400
        assert member.websocket.close_code == 4502


async def change(app: Sanic, cookie: str, **values: Any) -> None:
    """Change a session, as a request of its visitor would."""
    record = await load(app, cookie)
    record.session.update(values)
    await app.ctx.sessions.save(record)


async def test_what_changes_in_a_session_is_known_to_its_sockets(open_app: OpenApp) -> None:
    async with open_app([Members], session_check_interval=QUICK) as (app, address):
        cookie = await logged_in(app, "ann", banned=True)
        async with RawClient.connect(address, cookie=cookie) as member:
            with pytest.raises(Refused, match="may not enter"):
                await member.join("members")
            await change(app, cookie, banned=False)

            async def let_in() -> bool:
                with contextlib.suppress(Refused):
                    await member.join("members")
                    return True
                return False

            await until(let_in)


async def test_who_is_told_to_go_sees_and_does_nothing_more(open_app: OpenApp) -> None:
    async with ann(open_app, session_check_interval=SLOW) as (app, _, member):
        (connection,) = app.ctx.connections
        room = app.ctx.hub.rooms["members"]
        connection.requests.follow_session(None)
        assert len(room.fanout) == 0
        connection.data_received(message(2, 1, "members", "add", {}))
        assert await close_code(member) == 4502
        assert room.follower.replica.version == 0


async def test_what_waits_is_not_done_once_the_session_ended(open_app: OpenApp) -> None:
    async with ann(open_app, session_check_interval=SLOW) as (app, _, member):
        (connection,) = app.ctx.connections
        room = app.ctx.hub.rooms["members"]
        call = message(2, 1, "members", "add", {})
        connection.data_received(message(0, "members", None, None) + call)  # waits for the join
        connection.requests.follow_session(None)
        for _ in range(2):  # steps in which the join would have come about
            await asyncio.sleep(0)
        assert len(room.fanout) == 0
        assert await close_code(member) == 4502
        assert room.follower.replica.version == 0


async def test_sockets_stay_while_the_store_is_away(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def away(*_: Any) -> None:
        asked.set()
        raise StoreUnavailable("away")

    async with ann(open_app, session_check_interval=QUICK) as (app, cookie, member):
        with monkeypatch.context() as patch:
            patch.setattr(app.ctx.sessions, "read", away)
            patch.setattr(app.ctx.sessions, "find", away)
            await asked.wait()
            assert await member.call("members", "add") == [1, "ann"]
        await app.ctx.sessions.destroy(await load(app, cookie))
        assert await close_code(member) == 4502


@pytest.mark.parametrize("foreign", [b"", b"\xff\xfe", b"x" * 10_000, b"0" * 32])
async def test_foreign_messages_on_the_channel_do_no_harm(
    open_app: OpenApp, foreign: bytes
) -> None:
    async with ann(open_app, session_check_interval=SLOW) as (app, cookie, member):
        app.ctx.session_watch.on_message(foreign)
        assert await member.call("members", "add") == [1, "ann"]
        await app.ctx.sessions.destroy(await load(app, cookie))
        assert await close_code(member) == 4502


async def test_a_session_that_ends_during_a_handshake_ends_its_socket(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app([Members], session_check_interval=SLOW) as (app, address):
        cookie = await logged_in(app, "ann")
        record = await load(app, cookie)
        touch = app.ctx.sessions.touch

        async def end_behind(found: SessionRecord) -> bool:
            living: bool = await touch(found)
            await app.ctx.sessions.destroy(record)
            await until(lambda: record.session.identity in app.ctx.session_watch._recent)  # noqa: SLF001
            return living

        monkeypatch.setattr(app.ctx.sessions, "touch", end_behind)
        async with RawClient.connect(address, cookie=cookie, hello=False) as member:
            assert await close_code(member) == 4502


async def test_counts_of_who_has_gone_are_forgotten(open_app: OpenApp) -> None:
    async with ann(open_app, session_check_interval=QUICK) as (app, _, member):
        await member.websocket.close()
        watch, limits = app.ctx.session_watch, app.ctx.limits
        await until(lambda: not (watch._sockets or limits._sessions or limits._addresses))  # noqa: SLF001


async def test_the_sessions_of_many_sockets_are_read_together(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app([Members], session_check_interval=QUICK) as (app, address):
        sessions, together = app.ctx.sessions, asyncio.Event()
        read = sessions.read

        async def wait_for_all(identities: Sequence[str]) -> list[bytes | None]:
            if len(identities) == 3:
                together.set()
            stored: list[bytes | None] = await read(identities)
            return stored

        async with contextlib.AsyncExitStack() as stack:
            for user in ("ann", "bob", "cem"):
                cookie = await logged_in(app, user)
                await stack.enter_async_context(RawClient.connect(address, cookie=cookie))
            monkeypatch.setattr(sessions, "read", wait_for_all)
            async with asyncio.timeout(40):
                await together.wait()


@pytest.mark.usefixtures("_announcements_lost")
async def test_a_session_that_cannot_be_read_keeps_no_other_socket_open(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ann(open_app, session_check_interval=QUICK) as (app, cookie, member):
        others = await load(app, await logged_in(app, "bob"))
        find = app.ctx.sessions.find

        async def find_but_one(identity: str) -> SessionRecord | None:
            if identity == others.session.identity:
                raise StoreUnavailable("this one is away")
            return await find(identity)

        monkeypatch.setattr(app.ctx.sessions, "find", find_but_one)
        (connection,) = app.ctx.connections
        app.ctx.session_watch.add(connection.requests, others.session)
        await app.ctx.sessions.destroy(await load(app, cookie))
        assert await close_code(member) == 4502
        app.ctx.session_watch.remove(connection.requests, others.session)


class Late:
    """Sessions that are read, and then come late."""

    def __init__(self, sessions: SessionStore) -> None:
        self.were_read, self.go_on = asyncio.Event(), asyncio.Event()
        self._read = sessions.read

    async def read(self, identities: Sequence[str]) -> list[bytes | None]:
        found = await self._read(identities)
        if not self.were_read.is_set():
            self.were_read.set()
            await self.go_on.wait()
        return found


async def test_a_socket_with_a_new_token_is_not_compared_with_what_was_read_before(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ann(open_app, session_check_interval=SLOW) as (app, cookie, member):
        late, address = Late(app.ctx.sessions), member.websocket.remote_address
        monkeypatch.setattr(app.ctx.sessions, "read", late.read)
        app.ctx.session_watch.on_gap()
        await late.were_read.wait()
        record = await load(app, cookie)
        await app.ctx.sessions.rotate(record)
        renewed, url = f"{cookie.partition('=')[0]}={record.token}", f"{address[0]}:{address[1]}"
        async with RawClient.connect(url, cookie=renewed) as again:
            late.go_on.set()
            assert await close_code(member) == 4001
            await again.join("members")
            assert await again.call("members", "add") == [1, "ann"]


class Follower:
    """A socket that notes when it is told of its session."""

    def __init__(self, session: Session, told: list[str], on_told: Callable[[], None]) -> None:
        self.use, self.session, self.on_told = Use(""), CurrentSession(session), on_told
        self._told = told

    def follow_session(self, _: Session | None) -> int:
        self._told.append(self.session.known.identity)
        self.on_told()
        return 1


async def test_announced_sessions_are_checked_before_those_of_a_round(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app([Members], session_check_interval=SLOW) as (app, _):
        watch, told = app.ctx.session_watch, list[str]()
        monkeypatch.setattr(app.ctx.sessions, "find", AsyncMock(return_value=None))
        sessions = [new_session(time.time()) for _ in range(10 * tasks.BATCH)]
        announced = [session.identity for session in sessions[:5]]

        def announce() -> None:
            for identity in announced if len(told) == 1 else ():
                watch.on_message(identity.encode())

        for session in sessions:
            watch.add(Follower(session, told, announce), session)
        watch.on_gap()
        await until(lambda: len(told) >= len(sessions))
        assert max(map(told.index, announced)) < tasks.BATCH + len(announced)
