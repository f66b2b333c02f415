import os

import pytest
from websockets.frames import Frame, Opcode

from gospa.live.wire import pong, snapshot
from gospa.live.writer import framed
from gospa.stats import Counters
from gospa.store.codec import pack_fields
from gospa.store.contract import Snapshot
from tests.gospa.live.screen import Screen


class Counter:
    """A room whose state changes each time it is asked for."""

    def __init__(self) -> None:
        self.count = 0

    def snapshot_frame(self) -> bytes:
        self.count += 1
        state = Snapshot(self.count, bytes(8), pack_fields({"count": self.count}))
        return framed(snapshot("a", state))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 2**16 - 1, 2**16, 10**6])
def test_a_frame_is_as_the_websockets_package_writes_it(size: int) -> None:
    message = os.urandom(size)
    assert framed(message) == Frame(Opcode.BINARY, message).serialize(mask=False)


def test_what_happens_is_written_at_once() -> None:
    screen = Screen()
    screen.outbox.push(framed(pong()), Counter())
    assert screen.kinds() == [7]


def test_a_full_transport_gets_no_news_but_answers() -> None:
    screen = Screen()
    screen.outbox.pause(0)
    screen.outbox.push(framed(pong()), Counter())
    assert screen.kinds() == []
    assert screen.counters == Counters(behind=1, skipped=1)
    screen.outbox.send(pong())
    assert screen.kinds() == [7]


def test_once_drained_it_gets_the_state_as_it_is_then_and_once() -> None:
    screen, room = Screen(), Counter()
    screen.outbox.pause(0)
    for _ in range(10):
        screen.outbox.push(framed(pong()), room)
    screen.outbox.resume()
    assert screen.kinds() == [0]
    assert room.count == 1
    screen.outbox.push(framed(pong()), room)
    assert screen.kinds() == [0, 7]


def test_a_room_that_was_left_is_not_shown_any_more() -> None:
    screen, room = Screen(), Counter()
    screen.outbox.pause(0)
    screen.outbox.push(framed(pong()), room)
    screen.outbox.forget(room)
    screen.outbox.resume()
    assert screen.kinds() == []


def test_a_transport_that_is_full_again_waits_with_the_other_rooms() -> None:
    screen = Screen()

    class Large(Counter):
        def snapshot_frame(self) -> bytes:
            screen.outbox.pause(1)  # as the transport does when this is more than it takes
            return super().snapshot_frame()

    screen.outbox.pause(0)
    for room in (Large(), Large()):
        screen.outbox.push(framed(pong()), room)
    screen.outbox.resume()
    assert screen.kinds() == [0]
    screen.outbox.resume()
    assert screen.kinds() == [0, 0]
