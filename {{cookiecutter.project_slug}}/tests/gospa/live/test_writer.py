import asyncio
import os

import pytest
from websockets.frames import Frame, Opcode

from gospa.live import writer as module
from gospa.live.wire import event, pong, snapshot
from gospa.live.writer import Fanout, Position, framed
from gospa.stats import Stats
from gospa.store.codec import pack_fields
from gospa.testing import until
from tests.gospa.live.screen import Screen

START = Position(0, bytes(8))


class Counter:
    """A room whose state changes each time it is asked for."""

    def __init__(self) -> None:
        self.count = 0

    position = START

    def frames_since(self, _: Position) -> list[bytes]:
        self.count += 1
        fields = pack_fields({"count": self.count})
        return [framed(snapshot("a", self.count, bytes(8), fields))]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 2**16 - 1, 2**16, 10**6])
def test_a_frame_is_as_the_websockets_package_writes_it(size: int) -> None:
    message = os.urandom(size)
    assert framed(message) == Frame(Opcode.BINARY, message).serialize(mask=False)


def test_what_happens_is_written_at_once() -> None:
    screen = Screen()
    screen.writer.push([framed(pong())], Counter(), START)
    assert screen.kinds() == [7]


def test_a_full_transport_gets_no_news_but_answers(stats: Stats) -> None:
    screen, room = Screen(), Counter()
    screen.writer.pause(0)
    screen.writer.push([framed(pong())], room, START)
    assert screen.kinds() == []
    assert (stats.behind, stats.skipped) == (1, 1)
    screen.writer.send(pong())
    screen.writer.forget(room)
    screen.writer.resume()
    assert screen.kinds() == [7]


def test_once_drained_it_gets_the_state_as_it_is_then_and_once() -> None:
    screen, room = Screen(), Counter()
    screen.writer.pause(0)
    for _ in range(10):
        screen.writer.push([framed(pong())], room, START)
    screen.writer.resume()
    assert screen.kinds() == [0]
    assert room.count == 1
    screen.writer.push([framed(pong())], room, START)
    assert screen.kinds() == [0, 7]


def test_a_room_that_was_left_is_not_shown_any_more() -> None:
    screen, room = Screen(), Counter()
    screen.writer.pause(0)
    screen.writer.push([framed(pong())], room, START)
    screen.writer.forget(room)
    screen.writer.resume()
    assert screen.kinds() == []


class Narrow(Screen):
    """A transport that is full after each write."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self.writer.pause(1)


def test_a_transport_that_is_full_again_waits_with_the_other_rooms() -> None:
    screen = Narrow()
    screen.writer.pause(0)
    for room in (Counter(), Counter()):
        screen.writer.push([framed(pong())], room, START)
    screen.writer.resume()
    assert screen.kinds() == [0]
    screen.writer.resume()
    assert screen.kinds() == [0, 0]


# To all members of a room


class Full:
    position = START

    def frames_since(self, _: Position) -> list[bytes]:
        raise AssertionError("nobody is behind")


def news(number: int) -> bytes:
    return framed(event("a", "news", number, None))


def heard(screen: Screen) -> list[int]:
    return [message[3] for message in screen.messages]


async def test_frames_that_come_together_are_joined_into_one_write() -> None:
    fanout, screen = Fanout(Full()), Screen()
    fanout.add(screen.writer)
    for number in range(10):
        fanout.send(news(number))
    await asyncio.sleep(0)
    assert heard(screen) == list(range(10))
    assert len(screen.writes) == 1


async def test_what_follows_waits_and_goes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE", module.WINDOW)  # longer than this test takes to send
    fanout, screen = Fanout(Full()), Screen()
    fanout.add(screen.writer)
    for number in range(10):
        fanout.send(news(number))
        await asyncio.sleep(0)
    assert heard(screen)[0] == 0
    await until(lambda: len(screen.messages) == 10)
    assert heard(screen) == list(range(10))
    assert len(screen.writes) < 10


async def test_who_comes_gets_only_what_is_sent_from_then_on() -> None:
    fanout, first, second = Fanout(Full()), Screen(), Screen()
    fanout.add(first.writer)
    fanout.send(news(1))
    fanout.send(news(2))
    fanout.add(second.writer)
    assert heard(first) == [1, 2]
    fanout.send(news(3))
    await until(lambda: heard(second) == [3])
    assert heard(first) == [1, 2, 3]


async def test_who_left_gets_nothing_more() -> None:
    fanout, stays, goes = Fanout(Full()), Screen(), Screen()
    fanout.add(stays.writer)
    fanout.add(goes.writer)
    fanout.remove(goes.writer)
    assert len(fanout) == 1
    fanout.send(news(1))
    await asyncio.sleep(0)
    assert (heard(stays), heard(goes)) == ([1], [])
