"""What is kept for clients that read slowly."""

import asyncio
from collections.abc import Iterable

import pytest

from gospa.live import writer as module
from gospa.live.frames import FRAGMENT, fragmented
from gospa.live.unsent import Unsent
from gospa.live.writer import HIGH_WATER, TAKEN, Writer

TIMEOUT = 30.0  # seconds
MEGABYTE = 1024 * 1024


class Link(asyncio.Transport):
    """A client's link, of which the test says how much the client takes."""

    def __init__(self, unsent: Unsent) -> None:
        super().__init__()
        self.writer = Writer(self, unsent, self.give_up)
        self.buffered, self.frames, self.now = 0, list[bytes](), 0
        self.given_up = False

    def give_up(self) -> None:
        self.given_up = True
        self.writer.drop()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.frames.append(bytes(data))
        self.buffered += len(data)
        if self.buffered > HIGH_WATER:
            self.writer.pause(self.now)

    def take(self, size: int) -> None:
        """The client reads so many bytes."""
        while size and self.buffered:
            part = min(size, self.buffered)
            self.buffered, size = self.buffered - part, size - part
            if self.buffered <= HIGH_WATER // 4:
                self.writer.resume()

    def show(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self.writer.write(frame)


def lags(link: Link, seconds: int, taken: int, start: int = 0) -> int | None:
    """After how many seconds a client is too slow that takes so much in each; None if it is not."""
    for now in range(start, start + seconds):
        if link.writer.lags(now, TIMEOUT):
            return now - start
        link.take(taken)
    return None


def test_a_phone_that_reads_50_kb_a_second_gets_a_megabyte() -> None:
    link = Link(Unsent(10 * MEGABYTE))
    link.show(fragmented(bytes(MEGABYTE)))
    assert lags(link, 60, taken=50_000) is None
    assert link.buffered == 0
    assert sum(map(len, link.frames)) > MEGABYTE


@pytest.mark.parametrize("taken", [0, 1, 2000 // 12, TAKEN // 40])
def test_who_reads_less_than_the_rate_is_too_slow_however_steadily(taken: int) -> None:
    link = Link(Unsent(10 * MEGABYTE))
    link.show(fragmented(bytes(MEGABYTE)))
    assert lags(link, 60, taken) == TIMEOUT + 1


def test_who_read_fast_before_is_too_slow_once_it_stops() -> None:
    link = Link(Unsent(10 * MEGABYTE))
    link.show(fragmented(bytes(MEGABYTE)))
    assert lags(link, 5, taken=100_000) is None
    assert lags(link, 60, taken=0, start=5) is not None


def test_who_takes_the_little_that_waits_is_not_too_slow_however_long_it_takes() -> None:
    """A weak link, or a room in which something happens all the time."""
    link = Link(Unsent(10 * MEGABYTE))
    for _ in range(20):
        link.show([bytes(5000)])
        assert lags(link, 10, taken=500) is None


def test_a_client_that_slept_with_nothing_to_read_is_not_too_slow() -> None:
    link = Link(Unsent(10 * MEGABYTE))
    assert lags(link, 1, taken=0) is None
    assert lags(link, 1, taken=0, start=8 * 3600) is None
    link.show([b"x"])
    assert lags(link, 20, taken=0, start=8 * 3600) is None


async def test_a_snapshot_that_many_wait_for_is_in_memory_once() -> None:
    unsent = Unsent(10 * MEGABYTE)
    frames = fragmented(bytes(MEGABYTE))
    links = [Link(unsent) for _ in range(400)]
    for link in links:
        link.show(frames)
    assert unsent.total < MEGABYTE
    assert not any(link.given_up for link in links)
    for link in links:
        link.take(2 * MEGABYTE)
    assert unsent.total == 0
    assert all(b"".join(link.frames) == b"".join(frames) for link in links)


async def test_what_is_read_slowly_is_bounded_and_who_reads_is_spared() -> None:
    unsent = Unsent(10 * MEGABYTE)
    phone = Link(unsent)
    phone.show(fragmented(bytes(MEGABYTE)))
    crowd, shared = [Link(unsent) for _ in range(300)], fragmented(bytes(MEGABYTE))
    for link in crowd:
        link.show(shared)
    slow, most = list[Link](), 0
    for now in range(40):
        slow.append(Link(unsent))
        slow[-1].show(fragmented(bytes(MEGABYTE)))
        phone.take(20_000)
        for link in [*slow, phone, *crowd]:
            link.writer.lags(now, TIMEOUT)
        for link in crowd:
            link.take(20_000)
        await asyncio.sleep(0)
        most = max(most, unsent.total)
    assert most <= 12 * MEGABYTE
    assert sum(link.given_up for link in slow) > 20
    assert not phone.given_up
    assert not any(link.given_up for link in crowd)


async def test_who_had_nothing_to_read_before_is_not_taken_for_slow() -> None:
    unsent = Unsent(3 * MEGABYTE // 2)
    stuck, idle = Link(unsent), Link(unsent)
    for link in (stuck, idle):
        link.writer.lags(0, TIMEOUT)
    for link, now in ((stuck, 5), (idle, 7)):
        link.now = now
        link.show(fragmented(bytes(MEGABYTE)))
        stuck.writer.lags(now, TIMEOUT)
    await asyncio.sleep(0)
    assert (stuck.given_up, idle.given_up) == (True, False)


async def test_connections_that_hold_little_are_not_closed_for_those_that_hold_much() -> None:
    unsent, common = Unsent(4 * MEGABYTE), bytes(HIGH_WATER + 1)
    small, large = [Link(unsent) for _ in range(50)], [Link(unsent) for _ in range(20)]
    for link in small:
        link.show([common, bytes(20_000)])
        link.writer.lags(0, TIMEOUT)
    for link in large:
        link.show(fragmented(bytes(MEGABYTE)))
        await asyncio.sleep(0)
    assert unsent.total <= 4 * MEGABYTE
    assert not any(link.given_up for link in small)


def test_a_close_frame_follows_what_the_transport_has_and_nothing_that_waits() -> None:
    link = Link(Unsent(10 * MEGABYTE))
    link.show(fragmented(bytes(MEGABYTE)))
    link.writer.drop()
    link.writer.write(b"\x88\x00")
    passed = sum(map(len, link.frames))
    assert passed <= HIGH_WATER + FRAGMENT + 10
    link.take(MEGABYTE)
    assert link.frames[-1] == b"\x88\x00"
    assert sum(map(len, link.frames)) == passed + 2


async def test_a_transport_is_closed_after_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    link, closed = Link(Unsent(10 * MEGABYTE)), list[int]()
    monkeypatch.setattr(link, "close", lambda: closed.append(len(link.frames)))
    frames = fragmented(bytes(MEGABYTE))
    link.show(frames)
    link.writer.end()
    assert not closed
    link.take(2 * MEGABYTE)
    assert closed == [len(frames)]


def test_writers_share_one_empty_queue() -> None:
    link = Link(Unsent(MEGABYTE))
    link.show([bytes(HIGH_WATER + 1), b"x"])
    assert not module.NOTHING
