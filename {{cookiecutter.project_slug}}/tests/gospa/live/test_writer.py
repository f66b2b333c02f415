import asyncio

from gospa.live.frames import SHARED, framed
from gospa.live.wire import pong, snapshot
from gospa.live.writer import Position
from gospa.stats import Stats
from gospa.store.codec import encode, pack_fields
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


def test_what_happens_is_written_at_once() -> None:
    screen = Screen()
    screen.writer.push([framed(pong())], Counter(), START)
    assert screen.kinds() == [7]


async def test_answers_of_one_iteration_of_the_loop_are_one_write_in_order() -> None:
    screen = Screen()
    for number in range(3):
        screen.writer.send(encode([number]))
    assert screen.writes == []
    await asyncio.sleep(0)
    assert (screen.kinds(), len(screen.writes)) == ([0, 1, 2], 1)
    await asyncio.sleep(0)
    assert len(screen.writes) == 1


async def test_frames_that_follow_an_answer_come_after_it() -> None:
    screen = Screen()
    screen.writer.send(pong())
    screen.writer.write(framed(encode([1])))
    screen.writer.send(pong())
    screen.writer.push([framed(encode([2]))], Counter(), START)
    assert screen.kinds() == [7, 1, 7, 2]


async def test_a_large_frame_is_not_copied_to_be_joined_with_an_answer() -> None:
    screen, large = Screen(), framed(encode([1, bytes(SHARED)]))
    screen.writer.send(pong())
    screen.writer.push([large], Counter(), START)
    assert screen.writes == [framed(pong()), large]


async def test_no_answer_follows_once_the_connection_closes() -> None:
    screen = Screen()
    screen.writer.send(encode([1]))
    screen.writer.finish()
    screen.writer.send(encode([2]))
    await asyncio.sleep(0)
    assert screen.kinds() == [1]


async def test_what_is_dropped_is_not_written() -> None:
    screen = Screen()
    screen.writer.send(pong())
    screen.writer.drop()
    await asyncio.sleep(0)
    assert screen.writes == []


async def test_a_full_transport_gets_no_news_but_answers(stats: Stats) -> None:
    screen, room = Screen(), Counter()
    screen.writer.pause(0)
    screen.writer.push([framed(pong())], room, START)
    assert screen.kinds() == []
    assert (stats.behind, stats.skipped) == (1, 1)
    screen.writer.send(pong())
    await asyncio.sleep(0)
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
