import asyncio

import pytest

from gospa.live import fanout as module
from gospa.live.fanout import Fanout
from gospa.live.frames import framed
from gospa.live.wire import event, pong
from gospa.live.writer import Position
from gospa.testing import until
from tests.gospa.live.screen import Screen

START = Position(0, bytes(8))


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


async def test_an_answer_and_the_frame_that_follows_it_are_one_write() -> None:
    fanout, asks, watches = Fanout(Full()), Screen(), Screen()
    fanout.add(asks.writer)
    fanout.add(watches.writer)
    fanout.send(news(1))
    asks.writer.send(pong())
    await asyncio.sleep(0)
    assert (asks.kinds(), len(asks.writes)) == ([7, 2], 1)
    assert watches.kinds() == [2]
