"""Clients that read slowly, over sockets."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.exceptions import ConnectionClosed

from gospa import Access, Room, Session, State, action, rooms_of
from gospa.live import connection, connections, writer
from gospa.live.frames import FRAGMENT
from gospa.stats import Stats
from gospa.testing import OpenApp, until
from tests.gospa.raw_client import PATIENCE, raw_client
from tests.gospa.wire import CLOSE, CONT, HEAD, Wire, message

SIZE = 600_000


class WallState(State):
    text: str = ""
    count: int = 0


class Wall(Room[WallState]):
    """A large state, which the application writes."""

    pattern = "wall"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action(server=True)
    def paint(self, state: WallState) -> None:
        state.text = os.urandom(SIZE // 2).hex()

    @action
    def add(self, state: WallState) -> int:
        state.count += 1
        return state.count


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TICK", 0.05)
    monkeypatch.setattr(connection, "LAST_WORDS", 20.0)
    monkeypatch.setattr(writer, "HIGH_WATER", 4096)


@asynccontextmanager
async def slow_reader(address: str) -> AsyncIterator[Wire]:
    """A client that joins and reads the head of the snapshot's first frame."""
    host, _, port = address.partition(":")
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
        reader, stream = await asyncio.open_connection(sock=plain, limit=1024)
        try:
            stream.write(HEAD.format(address).encode())
            await reader.readuntil(b"\r\n\r\n")
            stream.write(message(6, os.urandom(16)) + message(0, "wall", None, None))
            wire = Wire(reader, stream)
            await wire.receive()  # WELCOME
            assert await reader.readexactly(4) == b"\x02\x7e" + FRAGMENT.to_bytes(2)
            yield wire
        finally:
            stream.transport.abort()


async def close_code(wire: Wire, taken: int = 0) -> int:
    """Read everything after so much of the first frame; returns the code of the close frame."""
    await wire.reader.readexactly(FRAGMENT - taken)
    async with asyncio.timeout(PATIENCE):
        while True:
            opcode, payload = await wire.receive()
            assert opcode in (CONT, CLOSE)
            if opcode == CLOSE:
                return int.from_bytes(payload[:2])


async def test_who_takes_a_byte_now_and_then_is_closed_and_told_why(
    open_app: OpenApp, stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app([Wall], drain_timeout=0.5) as site, raw_client(site) as fast:
        await rooms_of(site.app).call(Wall.paint, "wall")
        await fast.join("wall")
        async with slow_reader(site.address) as slow:
            taken = 0

            async def take() -> bool:
                nonlocal taken
                taken += len(await slow.reader.readexactly(1))
                return stats.stuck > 0

            await until(take)
            assert await close_code(slow, taken) == 4004
        assert await fast.call("wall", "add") == 1
    assert (stats.stuck, stats.stuck_memory) == (1, 0)
    assert "read too little" in caplog.text


async def test_slow_readers_of_different_states_share_a_bounded_memory(
    open_app: OpenApp, stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 2 * 1024 * 1024
    async with (
        open_app([Wall], unsent_size=limit, drain_timeout=3600.0) as site,
        raw_client(site) as fast,
        AsyncExitStack() as stack,
    ):
        rooms = rooms_of(site.app)
        await rooms.call(Wall.paint, "wall")
        await fast.join("wall")
        slow = []
        for _ in range(8):
            slow.append(await stack.enter_async_context(slow_reader(site.address)))
            await rooms.call(Wall.paint, "wall")
            assert site.app.ctx.hub.unsent.total <= limit + 2 * SIZE
        await until(lambda: site.app.ctx.hub.unsent.total <= limit)
        assert stats.stuck_memory > 0
        shown = await rooms.read(Wall, "wall")
        await fast.sees("wall", lambda state: state["text"] == shown.text)
        assert await close_code(slow[0]) == 4004
    assert "GOSPA_UNSENT_SIZE" in caplog.text


async def test_slow_readers_of_one_state_share_it(open_app: OpenApp) -> None:
    async with open_app([Wall]) as site, AsyncExitStack() as stack:
        rooms = rooms_of(site.app)
        await rooms.call(Wall.paint, "wall")
        for _ in range(10):
            await stack.enter_async_context(slow_reader(site.address))
            await rooms.call(Wall.add, "wall")  # too little for another snapshot
        assert site.app.ctx.hub.unsent.total <= 1.1 * SIZE


async def test_a_client_that_slept_is_back_with_the_newest_state(
    open_app: OpenApp, stats: Stats
) -> None:
    async with open_app([Wall], drain_timeout=0.5) as site:
        rooms = rooms_of(site.app)
        async with raw_client(site) as laptop:
            await laptop.join("wall")
            assert await laptop.call("wall", "add") == 1
            laptop.websocket.transport.pause_reading()

            async def paint() -> bool:
                await rooms.call(Wall.paint, "wall")
                return stats.stuck > 0

            await until(paint)
            laptop.websocket.transport.resume_reading()
            with pytest.raises(ConnectionClosed):
                await laptop.until(lambda _: False)
            assert laptop.websocket.close_code == 4004
        shown = await rooms.read(Wall, "wall")
        async with raw_client(site, client=laptop.client) as awake:
            state = await awake.join("wall", *laptop.heads["wall"])
            assert state["text"] == shown.text
            awake.number = laptop.number
            assert await awake.call("wall", "add") == 2
