"""One connection under wrong, strange and hostile frames: it ends, and nobody else notices."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from sanic.log import logger

from gospa import CONNECTION_ID, Access, Room, Session, State, action
from gospa.live import connections, hub
from gospa.live.connection import Connection
from gospa.live.wire import Close
from gospa.testing import OpenApp, Refused, until
from tests.gospa.raw_client import RawClient
from tests.gospa.wire import (
    BINARY,
    CLOSE,
    CONT,
    HELLO,
    PING,
    PONG,
    TEXT,
    Wire,
    frame,
    message,
    open_wire,
)

ConnectRaw = Callable[..., Any]

BROKEN = {
    "unmasked": (frame(BINARY, b"x", masked=False), 1002),
    "reserved bits": (frame(BINARY, b"x", rsv=4), 1002),
    "a reserved opcode": (frame(3), 1002),
    "a reserved control opcode": (frame(11), 1002),
    "a fragmented ping": (frame(PING, fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, bytes(126)), 1002),
    "a stray continuation": (frame(CONT, b"x"), 1002),
    "a new message amid fragments": (frame(BINARY, b"x", fin=False) + frame(BINARY), 1002),
    "a close of one byte": (frame(CLOSE, b"x"), 1002),
    "a close with 1005": (frame(CLOSE, (1005).to_bytes(2)), 1002),
    "a declared length of 2^62": (frame(BINARY, length=2**62), 1009),
    "a declared length of 2^63": (frame(BINARY, length=2**63), 1009),
    "oversize at once": (frame(BINARY, bytes(64 * 1024 + 1)), 1009),
    "oversize by fragments": (
        frame(BINARY, bytes(60_000), fin=False) + frame(CONT, bytes(6_000)),
        1009,
    ),
    "text": (frame(TEXT, b"hello"), 1003),
    "text that is not UTF-8": (frame(TEXT, b"\xff\xfe"), 1003),
    "an empty message": (frame(BINARY), 4500),
}


@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_frame_ends_its_connection_alone(
    address: str, data: bytes, code: int
) -> None:
    async with RawClient.connect(address) as bystander, open_wire(address) as wire:
        await bystander.join("sheet/a")
        wire.writer.write(HELLO + data)
        assert await wire.close_code() == code
        assert await bystander.call("sheet/a", "add") == 1


async def test_a_long_reason_is_cut_to_what_a_close_frame_holds(open_app: OpenApp) -> None:
    async with open_app() as (app, address), open_wire(address) as wire:
        wire.writer.write(HELLO)
        await wire.receive()
        (connection,) = app.ctx.connections
        connection.close(Close(4500, "\u00e9" * 200))
        opcode, payload = await wire.receive()
        assert (opcode, payload[2:].decode()) == (CLOSE, "\u00e9" * 60)


async def test_a_close_is_answered_with_its_code(address: str) -> None:
    async with open_wire(address) as wire:
        wire.writer.write(frame(CLOSE, (1000).to_bytes(2)))
        assert await wire.close_code() == 1000
        assert await wire.reader.read() == b""


async def test_what_comes_right_before_a_close_is_done(address: str) -> None:
    async with RawClient.connect(address) as bystander, open_wire(address) as wire:
        await bystander.join("sheet/a")
        wire.writer.write(HELLO + message(0, "sheet/a", None, None))
        while (await wire.receive())[1][:2] != b"\x97\x08":  # JOINED
            pass
        wire.writer.write(message(2, 1, "sheet/a", "add", {}) + frame(CLOSE))
        await bystander.sees("sheet/a", lambda state: state["count"] == 1)


async def test_a_frame_that_comes_byte_by_byte_is_one_message(address: str) -> None:
    async with open_wire(address) as wire:
        for byte in HELLO + message(5):
            wire.writer.write(bytes([byte]))
            await wire.writer.drain()
        assert (await wire.receive())[0] == BINARY
        assert await wire.receive() == (BINARY, b"\x91\x07")


async def test_of_a_message_that_is_never_complete_nothing_is_kept(open_app: OpenApp) -> None:
    async with open_app() as (app, address), open_wire(address) as wire:
        wire.writer.write(HELLO + frame(BINARY, bytes(30_000), fin=False))
        wire.writer.write(frame(CONT, bytes(20_000), fin=False)[:10_000])
        (connection,) = app.ctx.connections

        def kept() -> int:
            return len(connection._fragments) + len(connection._protocol.reader.buffer)  # noqa: SLF001

        await until(lambda: kept() > 39_000)
        wire.writer.transport.abort()
        await until(lambda: not app.ctx.connections)
        assert kept() == 0


async def test_messages_right_behind_the_handshake_are_not_lost(address: str) -> None:
    async with open_wire(address) as wire:
        wire.writer.write(HELLO + message(5) * 50)
        await wire.receive()
        for _ in range(50):
            assert await wire.receive() == (BINARY, b"\x91\x07")


async def test_a_half_closed_connection_is_closed(address: str) -> None:
    async with open_wire(address) as wire:
        wire.writer.write(HELLO)
        await wire.receive()
        wire.writer.write_eof()
        async with asyncio.timeout(40):
            await wire.reader.read()


async def test_a_client_that_vanished_is_closed(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TICK", 0.05)
    async with open_app(ping_interval=0.2) as (app, address), open_wire(address) as wire:
        wire.writer.write(HELLO)
        await until(lambda: not app.ctx.connections)
        assert await wire.close_code() == 4000


class Clock:
    """The time of a connection, in which only its heartbeat checks happen."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._now = connection, asyncio.get_running_loop().time()
        connection._loop = self  # type: ignore[assignment]  # noqa: SLF001

    def time(self) -> float:
        return self._now

    def seconds_until(self, attribute: str) -> float:
        """Check each second if something may be due, until an attribute is set."""
        began = self._now
        while not getattr(self._connection, attribute):
            self._now += 1
            if self._connection.check_at <= self._now:
                self._connection.check_heartbeat()
        return self._now - began


async def test_a_silent_client_is_pinged_and_closed_in_time(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may close a connection on which nothing came for little more than the interval."""
    monkeypatch.setattr(connections, "TICK", 3600)
    async with open_app(ping_interval=50.0) as (app, address), open_wire(address) as wire:
        wire.writer.write(HELLO)
        await wire.receive()
        (connection,) = app.ctx.connections
        clock = Clock(connection)
        for _ in range(5):
            connection.data_received(frame(PONG))
            assert 50 <= clock.seconds_until("_pinged") <= 51
        assert 50 <= clock.seconds_until("_closing") <= 51


@pytest.mark.parametrize("sent", [b"", HELLO[:-1]], ids=["nothing", "half a frame"])
async def test_who_does_not_say_hello_in_time_is_closed(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "TICK", 0.05)
    async with open_app(hello_timeout=0.1) as (app, address), open_wire(address) as wire:
        wire.writer.write(sent)
        assert await wire.close_code() == 4501
        await until(lambda: not app.ctx.connections)


async def test_an_action_that_fails_is_logged_with_its_connection(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Room[State]):
        pattern = "broken"

        async def authorize(self, session: Session) -> Access:
            return Access.FULL

        @action
        def fail(self, state: State) -> None:
            raise ZeroDivisionError

    ids: list[str | None] = []
    async with open_app([Broken]) as (_, address):
        connection = CONNECTION_ID
        monkeypatch.setattr(logger, "error", lambda *_, **__: ids.append(connection.get()))
        told = []
        for _ in range(2):
            async with RawClient.connect(address) as member:
                told.append(member.welcome[2])
                await member.join("broken")
                with pytest.raises(Refused, match="internal"):
                    await member.call("broken", "fail")
    assert ids == told


async def test_who_goes_while_joining_is_in_no_room(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "TICK", 60)  # rooms without members are not closed meanwhile
    asked = asyncio.Event()

    class Slow(Room[State]):
        pattern = "slow"

        async def authorize(self, session: Session) -> Access:
            if not asked.is_set():
                asked.set()
                with contextlib.suppress(asyncio.CancelledError):  # a library may do so
                    await asyncio.Event().wait()
            return Access.FULL

    async with open_app([Slow]) as (app, address), asyncio.timeout(40):
        async with open_wire(address) as wire:
            wire.writer.write(HELLO + message(0, "slow", None, None))
            await asked.wait()
        await until(lambda: "slow" in app.ctx.hub.rooms)
        assert app.ctx.hub.rooms["slow"].unused


async def flood(wire: Wire, data: bytes, times: int) -> None:
    """Send as fast as it is taken, until all is sent or the connection is over."""
    try:
        for _ in range(times):
            wire.writer.write(data)
            await wire.writer.drain()
    except ConnectionError:
        return


FLOODS = {
    "pings": frame(PING) * 1000,
    "pings of 125 bytes": frame(PING, bytes(125)) * 1000,
    "pongs": frame(PONG) * 1000,
    "empty fragments": frame(BINARY, fin=False) + frame(CONT, fin=False) * 10_000,
    "fragments of one byte": frame(BINARY, fin=False) + frame(CONT, b"x", fin=False) * 10_000,
    "messages": message(5) * 1000,
    "frames of 64 KiB": message(4, "sheet/a", "x", bytes(65_000)),
    "frames of 64 KiB of empty maps": frame(
        BINARY, b"\xdc\x00\x0f" + (b"\xdc\x0f\xff" + b"\x80" * 4095) * 15
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_ends_its_connection_alone(address: str, what: str) -> None:
    async with RawClient.connect(address) as bystander, open_wire(address) as wire:
        await bystander.join("sheet/a")
        wire.writer.write(HELLO)
        flooding = asyncio.create_task(flood(wire, FLOODS[what], 200))
        if "maps" in what:  # the first message is refused already
            assert await wire.close_code() == 4500
        else:
            assert await wire.close_code() == 4002
            assert wire.messages[-1][2] == "too_fast"
        assert await bystander.call("sheet/a", "add") == 1
        flooding.cancel()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "sent"),
    [
        ({"frames_per_second": 1.0}, message(5) * 11),
        ({"bytes_per_second": 10.0}, message(4, "a", "b", bytes(120))),
    ],
    ids=["frames", "bytes"],
)
async def test_what_comes_within_the_limits_is_answered_and_what_exceeds_them_is_not(
    open_app: OpenApp, limits: dict[str, Any], sent: bytes
) -> None:
    async with open_app(**limits) as (_, address), open_wire(address) as wire:
        wire.writer.write(HELLO)
        await wire.receive()
        wire.writer.write(sent)
        assert await wire.close_code() == 4002


@pytest.mark.parametrize(
    ("limits", "refused", "taken"),
    [
        ({"frame_elements": 10}, [4, "sheet/a", "x", [1] * 10], [4, "sheet/a", "x", [1] * 5]),
        ({"frame_elements": 10}, [4, "sheet/a", "x", [[1] * 3] * 3], [4, "sheet/a", "x", [[1]]]),
        ({"frame_depth": 4}, [4, "sheet/a", "x", [[[[1]]]]], [4, "sheet/a", "x", [[[1]]]]),
    ],
)
async def test_the_limits_of_a_message_are_settings(
    open_app: OpenApp, limits: dict[str, Any], refused: list[Any], taken: list[Any]
) -> None:
    async with open_app(**limits) as (_, address), open_wire(address) as wire:
        wire.writer.write(HELLO + message(*taken))
        await wire.receive()
        assert (await wire.receive())[0] == BINARY
        wire.writer.write(message(*refused))
        assert await wire.close_code() == 4500


async def test_a_room_takes_no_more_than_its_size(
    open_app: OpenApp, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app(room_size=2048) as (_, address), RawClient.connect(address) as member:
        await member.join("sheet/a")
        notes = []
        while True:
            await member.send(2, member.number + 1, "sheet/a", "add_note", {"text": "x" * 400})
            member.number += 1
            answer = await member.until(lambda m: m[0] in (3, 4))
            if answer[0] == 4:
                break
            notes.append(answer[3])
        assert (answer[2], "remove something" in caplog.text) == ("internal", True)
        assert 2 <= len(notes) <= 4
        await member.call("sheet/a", "remove_note", id=notes[0])
        await member.call("sheet/a", "add_note", text="x" * 400)
