"""Frames out to one connection, with backpressure."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from gospa.live.frames import SHARED, framed, grouped
from gospa.live.unsent import Unsent
from gospa.stats import STATS

HIGH_WATER = 128 * 1024  # bytes that a transport buffers before its connection is behind
TAKEN = 256 * 1024  # bytes that a client takes within `drain_timeout`, unless it takes all
NOTHING: deque[bytes] = deque()  # of all writers, because an empty deque takes 600 bytes


class Position(NamedTuple):
    """A place in a room's chain of commits."""

    version: int
    tag: bytes


class Source(Protocol):
    """A room, whose current state can be sent at any time."""

    @property
    def position(self) -> Position:
        """The version and tag of the room's state."""

    def frames_since(self, shown: Position) -> Sequence[bytes]:
        """Frames that bring a client up to date: with all that was pushed, nothing pushed later."""


class Writer:
    """Writes to one transport.

    Data that the transport does not accept is queued here, as objects that writers share. Meanwhile
    rooms do not queue more: the client falls behind.
    """

    __slots__ = (
        *("_accepted", "_answers", "_behind", "_due", "_ends", "_finished", "_passed", "_paused"),
        *("_rate", "_since", "_size", "_start", "_transport", "_unsent", "_waiting"),
        *("full_since", "give_up"),
    )

    def __init__(
        self, transport: asyncio.Transport, unsent: Unsent, give_up: Callable[[], None]
    ) -> None:
        """`give_up` closes the connection because the worker has too much unsent data."""
        self._transport = transport
        self._unsent = unsent
        self.give_up = give_up
        self._behind: dict[Source, Position] = {}  # rooms, with the state that the client was shown
        self.full_since: float | None = None
        self._waiting = NOTHING
        self._answers: list[bytes] | None = None  # written with the next frame, or soon
        self._passed: bytes | None = None  # the write at which the transport was full
        self._paused = self._finished = self._ends = False
        self._size = self._accepted = 0  # bytes that wait here, and of all writes
        self._since, self._start, self._due = 0.0, 0, 0  # see `lags`
        self._rate = 0.0
        transport.set_write_buffer_limits(high=HIGH_WATER, low=HIGH_WATER // 4)

    def send(self, message: bytes) -> None:
        """Answer the client, even when it is behind.

        Answers of one iteration of the event loop share a write, also with a frame of a room that
        follows them: a system call takes longer than all else that an answer needs.
        """
        if self._finished:
            return
        if self._answers is None:
            self._answers = []
            asyncio.get_running_loop().call_soon(self._write_answers)
        self._answers.append(framed(message))

    def finish(self) -> None:
        """Send no more answers: the connection is closing."""
        self._finished = True

    def write(self, data: bytes) -> None:
        """Write frames that are complete."""
        if self._answers is not None:
            self._write_answers()
        if self._transport.is_closing():
            return
        STATS.bytes_sent += len(data)
        self._accepted += len(data)
        if self._paused:
            self._wait(data)
        else:
            self._pass_on(data)

    def push(self, data: Sequence[bytes], source: Source, shown: Position) -> None:
        """Write frames of a room, or skip them and send later what follows `shown`."""
        if self.full_since is None and source not in self._behind:
            if self._answers is not None and len(data[0]) < SHARED:
                data = [self._take_answers() + data[0], *data[1:]]
            for each in data:
                self.write(each)
        else:
            self._behind.setdefault(source, shown)
            STATS.skipped += 1

    def forget(self, source: Source) -> None:
        """The client left the room: do not send its state later."""
        self._behind.pop(source, None)

    def pause(self, now: float) -> None:
        """The transport's buffer is above its high-water mark."""
        self._paused = True
        if self.full_since is None:
            self.full_since = now
            STATS.behind += 1

    def resume(self) -> None:
        """The transport's buffer is drained: send what waits, then what rooms skipped."""
        if self._transport.is_closing():
            return
        self._paused = False
        self._release_passed()
        while self._waiting and not self._paused:
            data = self._waiting.popleft()
            self._size -= len(data)
            self._pass_on(data)
            self._unsent.release(data)
        if self._paused:
            return
        self._empty()
        while self._behind and self.full_since is None:
            source, shown = next(iter(self._behind.items()))
            frames = source.frames_since(shown)
            del self._behind[source]  # only now: the frames contain all that was pushed until here
            for data in grouped(frames):
                self.write(data)

    def drop(self) -> None:
        """Forget what waits. The next write is a close frame, which may come amid fragments."""
        for data in self._waiting:
            self._unsent.release(data)
        self._release_passed()
        self._accepted -= self._size
        self._size, self._waiting, self._answers = 0, NOTHING, None
        self._behind.clear()
        self._unsent.forget(self)

    def end(self) -> None:
        """Close the transport, after what waits."""
        self._write_answers()
        self._ends = True
        if not self._waiting:
            self._transport.close()

    # Slow clients

    def lags(self, now: float, timeout: float) -> bool:
        """Whether the client took too little for `timeout` seconds.

        Within that time, it has to take all that waited at its beginning, or TAKEN bytes.
        """
        taken = self._accepted - self._size - self._transport.get_write_buffer_size()
        if taken >= self._due:
            self._since, self._start = now, taken
            self._due = min(self._accepted, taken + TAKEN)
            self._rate = TAKEN / timeout
        return now - self._since > timeout

    def owes(self, now: float) -> float:
        """The bytes by which the client is behind the rate at which it has to read."""
        taken = self._accepted - self._size - self._transport.get_write_buffer_size()
        since = max(self._since, self.full_since or 0.0)  # `lags` is asked seldom until it is full
        return (now - since) * self._rate - (taken - self._start)

    def waiting(self) -> Iterator[bytes]:
        """What waits for the client."""
        yield from self._waiting
        if self._passed is not None:
            yield self._passed

    def _write_answers(self) -> None:
        if answers := self._take_answers():
            self.write(answers)

    def _take_answers(self) -> bytes:
        answers, self._answers = self._answers or (), None
        return b"".join(answers)

    def _wait(self, data: bytes) -> None:
        if not self._waiting:
            self._waiting = deque()
        self._waiting.append(data)
        self._size += len(data)
        self._unsent.hold(self, data)

    def _pass_on(self, data: bytes) -> None:
        self._transport.write(data)
        if self._paused and self._passed is None:
            self._passed = data
            self._unsent.hold(self, data)

    def _release_passed(self) -> None:
        if self._passed is not None:
            self._unsent.release(self._passed)
            self._passed = None

    def _empty(self) -> None:
        self.full_since = None
        self._waiting = NOTHING
        self._unsent.forget(self)
        if self._ends:
            self._transport.close()
