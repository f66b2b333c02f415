"""What a connection does about clients that are silent, stuck or in a hurry."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanic import Sanic
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

import app as chosen
from gospa.app import create_app
from gospa.live import connections, handshake, writer
from gospa.live.batch import Mutation
from gospa.live.connection import MAX_FRAMES, SLICE, Connection
from gospa.live.requests import BACKLOG
from gospa.live.sequence import Applied
from gospa.live.unsent import Unsent
from gospa.member import Access
from gospa.sessions.session import new_session
from gospa.settings import Settings
from gospa.stats import Stats
from gospa.testing import serve, until
from tests.gospa.raw_client import RawClient
from tests.gospa.rooms import ROOMS, Sheet


@pytest.fixture
async def app(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sanic]:
    """An app, served, that waits for its clients for a moment only."""
    monkeypatch.setattr(connections, "TICK", 0.05)
    monkeypatch.setattr(writer, "HIGH_WATER", 4096)
    monkeypatch.setattr(handshake, "UNSENT", 4096)
    changed = msgspec.structs.replace(settings, ping_interval=2, drain_timeout=0.5)
    app = create_app("impatient", chosen.BACKENDS, ROOMS, changed)
    async with serve(app) as app.ctx.address:
        yield app


async def close_code(member: RawClient) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        await member.until(lambda _: False)
    return member.websocket.close_code


@pytest.mark.slow
async def test_only_who_answers_no_ping_is_closed(app: Sanic) -> None:
    async with (
        RawClient.connect(app.ctx.address) as answers,
        RawClient.connect(app.ctx.address) as gone,
    ):
        gone.websocket.transport.pause_reading()
        await until(lambda: len(app.ctx.connections) == 1)
        await answers.join("sheet/a")
        gone.websocket.transport.resume_reading()
        assert await close_code(gone) == 4000


@pytest.mark.slow
async def test_who_takes_nothing_for_long_is_cut_off(app: Sanic, stats: Stats) -> None:
    async with RawClient.connect(app.ctx.address) as member:
        member.websocket.transport.pause_reading()
        (connection,) = app.ctx.connections

        def full() -> bool:
            connection.send(bytes(64 * 1024))
            return connection.writer.full_since is not None or stats.stuck > 0

        await until(full)
        await until(lambda: not app.ctx.connections)
        assert stats.stuck == 1
        member.websocket.transport.abort()  # it would wait for what it does not read


class Transport(asyncio.Transport):
    """Takes all that is written, and tells whether it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self._reads = True

    def is_reading(self) -> bool:
        return self._reads

    def write(self, data: Any) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Room:
    """A room that is open, in which nothing is done before the test says so.

    `asked` are the numbers that calls and events came with.
    """

    def __init__(self) -> None:
        self.key = "sheet/a"
        self.audience = 1
        self.room = Sheet(self.key, {})
        self.visits = None
        self.mutations = self
        self.waiting: list[Mutation] = []
        self.asked: list[int] = []

    async def catch_up(self, *_: object) -> None:
        pass

    def join(self, *_: object) -> int:
        return 0

    def leave(self, *_: object) -> None:
        pass

    def submit(self, mutation: Mutation) -> None:
        self.asked.append(mutation.number)
        self.waiting.append(mutation)

    async def publish(self, _: str, event: bytes) -> None:
        await asyncio.sleep(0)
        self.asked.append(msgpack.unpackb(event)[3])


def frame(*message: object) -> bytes:
    return Frame(Opcode.BINARY, msgpack.packb(message)).serialize(mask=True)


PING, PONG = Frame(Opcode.PING, b"").serialize(mask=True), b"\x8a\x00"


def connect(settings: Settings, transport: Transport, room: Room | None = None) -> Connection:
    """A connection of a hub that has this room."""

    async def enter(*_: object) -> tuple[Room | None, Access]:
        await asyncio.sleep(0)
        return room, Access.FULL

    stub: Any = SimpleNamespace(
        settings=settings,
        server={},
        unsent=Unsent(settings.unsent_size),
        draining=False,
        outdated=frozenset(),
        enter=enter,
        pubsub=room,
    )
    protocol = ServerProtocol(state=State.OPEN)
    return Connection(stub, new_session(0), transport, protocol)


class Clock:
    """The time of a connection's loop."""

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time()

    def time(self) -> float:
        return self.now


async def silent(settings: Settings) -> tuple[Connection, Transport, Clock]:
    """The connection of a client that said HELLO, and the time there, which a test lets pass."""
    transport, clock = Transport(), Clock()
    connection = connect(settings, transport)
    connection._loop = cast("Any", clock)  # noqa: SLF001
    connection.data_received(frame(6, bytes(16)))
    await asyncio.sleep(0)  # for WELCOME
    transport.written.clear()
    return connection, transport, clock


ASKED = b"\x89\x00"  # PING, from the server


async def test_who_answers_pings_stays(settings: Settings) -> None:
    connection, transport, clock = await silent(settings)
    for number in range(1, 6):
        for _ in range(4):
            clock.now += settings.ping_interval / 3
            connection.check_heartbeat()
        assert transport.written == [ASKED] * number
        connection.data_received(Frame(Opcode.PONG, b"").serialize(mask=True))
    assert not transport.closed


async def test_a_client_is_closed_for_a_ping_that_it_did_not_answer_in_time_and_only_then(
    settings: Settings,
) -> None:
    """However long the worker itself stood still."""
    connection, transport, clock = await silent(settings)
    clock.now += 1000 * settings.ping_interval
    connection.check_heartbeat()
    clock.now += settings.ping_interval
    connection.check_heartbeat()
    assert (transport.written, transport.closed) == ([ASKED], False)
    clock.now += 1
    connection.check_heartbeat()
    assert transport.closed
    assert transport.written[1][2:4] == (4000).to_bytes(2)


async def test_a_crowd_of_frames_leaves_others_their_turns(settings: Settings) -> None:
    transport = Transport()
    connection = connect(settings, transport)
    pings, slice_holds = 1000, SLICE // len(PING)
    connection.data_received(frame(6, bytes(16)) + PING * pings)
    turns = 0
    while not transport.is_reading():
        turns += 1
        before = b"".join(transport.written).count(PONG)
        await asyncio.sleep(0)
        assert b"".join(transport.written).count(PONG) - before <= MAX_FRAMES + slice_holds
    assert b"".join(transport.written).count(PONG) == pings
    assert turns > 1


async def test_what_waits_for_its_turn_is_dropped_with_the_connection(settings: Settings) -> None:
    transport = Transport()
    connection = connect(settings, transport)
    connection.data_received(frame(6, bytes(16)) + PING * 1000)
    connection.connection_lost(None)
    answered = len(transport.written)
    await asyncio.sleep(0)
    assert len(transport.written) == answered


async def test_while_much_is_under_way_nothing_more_is_read(settings: Settings) -> None:
    room, transport = Room(), Transport()
    connection = connect(settings, transport, room)
    connection.data_received(frame(6, bytes(16)) + frame(0, "sheet/a", None, None))
    calls = [frame(2, number, "sheet/a", "add", {}) for number in range(1, BACKLOG + 2)]
    for call in calls[:BACKLOG]:
        connection.data_received(call)
    await until(lambda: len(room.waiting) == BACKLOG)
    assert transport.is_reading()
    connection.data_received(calls[BACKLOG])
    assert not transport.is_reading()
    room.waiting[0].done(Applied(1))
    assert transport.is_reading()


async def test_what_came_before_the_end_is_answered(settings: Settings) -> None:
    """Over TLS the end comes at once, also when nothing more is read."""
    transport = Transport()
    connection = connect(settings, transport)
    connection.data_received(frame(6, bytes(16)) + PING * 1000)
    assert not transport.is_reading()
    connection.eof_received()
    assert (b"".join(transport.written).count(PONG), transport.closed) == (1000, True)


def numbered(kinds: list[str]) -> bytes:
    """A frame or several for each kind, with numbers from one on."""
    sent = b""
    for number, kind in enumerate(kinds, 1):
        call = msgpack.packb([2, number, "sheet/a", "add", {}])
        if kind == "event":
            sent += frame(4, "sheet/a", "typing", number)
        elif kind == "call":
            sent += Frame(Opcode.BINARY, call).serialize(mask=True)
        else:
            sent += Frame(Opcode.BINARY, call[:5], fin=False).serialize(mask=True) + PING
            sent += Frame(Opcode.CONT, call[5:]).serialize(mask=True)
    return sent


class Client:
    """Sends when it is read from, and otherwise does as it is told."""

    def __init__(self, sent: bytes) -> None:
        self.room, self.transport = Room(), Transport()
        self.connection = connect(
            Settings(frames_per_second=1e9, events_per_second=1e9), self.transport, self.room
        )
        self._left = frame(6, bytes(16)) + frame(0, "sheet/a", None, None) + sent
        self._full = False

    async def do(self, step: int | str) -> None:
        match step:
            case "turn":
                await asyncio.sleep(0)
            case "answer" if self.room.waiting:
                self.room.waiting.pop(0).done(Applied(1))
            case "full" if not self._full:
                self._full = True
                self.connection.pause_writing()
            case "drained" if self._full:
                self._full = False
                self.connection.resume_writing()
            case int() if self.transport.is_reading() and self._left:
                data, self._left = self._left[:step], self._left[step:]
                self.connection.data_received(data)

    async def finish(self, asked: int) -> None:
        """Have all come and be answered, however little of it at a time; never stalls."""
        patience = len(self._left) + 1000
        while patience and (self._left or len(self.room.asked) < asked or self.room.waiting):
            patience -= 1
            for step in ("drained", 100, "turn", "answer"):
                await self.do(step)


# So many that a turn of the loop is not enough for them.
KINDS = st.lists(st.sampled_from(["call", "event", "fragments"]), min_size=1, max_size=5).map(
    lambda kinds: kinds * 40
)
STEPS = st.one_of(st.integers(1, 6000), st.sampled_from(["turn", "answer", "full", "drained"]))


@given(KINDS, st.lists(STEPS, max_size=60))
def test_each_frame_is_handled_once_and_in_order_however_it_comes(
    kinds: list[str], steps: list[int | str]
) -> None:
    async def play() -> None:
        client = Client(numbered(kinds))
        for step in steps:
            await client.do(step)
        await client.finish(len(kinds))
        assert client.room.asked == list(range(1, len(kinds) + 1))
        assert client.transport.is_reading()

    asyncio.run(play())
