"""Frames out: to one connection, with backpressure, and to all members of a room at once."""

import asyncio
import time
from bisect import bisect_left
from typing import Protocol

from gospa.stats import BUCKETS, STATS

HIGH_WATER = 256 * 1024  # bytes that a transport buffers before its connection is behind
# Frames that follow another are joined into one write. They wait about as long as writing takes,
# so that a busy room writes half of the time, with few members as with many.
WRITE = 4e-6  # seconds for one member
WINDOW = 0.002  # seconds, the longest wait


def framed(message: bytes) -> bytes:
    """A message as an unmasked binary WebSocket frame, the same for every client.

    Format: https://datatracker.ietf.org/doc/html/rfc6455#section-5.2
    """
    size = len(message)
    if size < 126:
        return bytes((0x82, size)) + message
    if size < 2**16:
        return b"\x82\x7e" + size.to_bytes(2) + message
    return b"\x82\x7f" + size.to_bytes(8) + message


class Source(Protocol):
    """A room, whose current state can be sent at any time."""

    def snapshot_frame(self) -> bytes:
        """A framed SNAPSHOT with everything pushed so far and nothing that will be pushed."""


class Writer:
    """Writes to one transport. While its buffer is full, rooms fall behind instead of queueing."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._behind: set[Source] = set()
        self.full_since: float | None = None
        self._left = 0
        self._finished = False
        transport.set_write_buffer_limits(high=HIGH_WATER, low=HIGH_WATER // 8)

    def send(self, message: bytes) -> None:
        """Answer the client, even when it is behind."""
        if not self._finished:
            self.write(framed(message))

    def finish(self) -> None:
        """Send no more answers: the connection is closing."""
        self._finished = True

    def write(self, data: bytes) -> None:
        """Write frames that are complete."""
        if not self._transport.is_closing():
            STATS.bytes_sent += len(data)
            self._transport.write(data)

    def push(self, data: bytes, source: Source) -> None:
        """Write frames of a room, or skip them and send the room's state later."""
        if self.full_since is None and source not in self._behind:
            self.write(data)
        else:
            self._behind.add(source)
            STATS.skipped += 1

    def forget(self, source: Source) -> None:
        """The client left the room: do not send its state later."""
        self._behind.discard(source)

    def pause(self, now: float) -> None:
        """The transport's buffer is above its high-water mark."""
        self.full_since = now
        STATS.behind += 1

    def stuck_for(self, now: float) -> float:
        """Seconds since the client last read something; 0 if the buffer is not full."""
        if self.full_since is None:
            return 0
        left = self._transport.get_write_buffer_size()
        if left < self._left:
            self.full_since = now
        self._left = left
        return now - self.full_since

    def resume(self) -> None:
        """The buffer is drained: send the state of every room that is behind."""
        self.full_since = None
        while self._behind and self.full_since is None:
            source = next(iter(self._behind))
            frame = source.snapshot_frame()
            self._behind.remove(source)  # now: what the snapshot holds is not pushed again
            self.write(frame)


class Fanout:
    """Writes a room's frames to all its members in this worker, without waiting for any."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._writers: set[Writer] = set()
        self._waiting: list[bytes] = []
        self._window: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self._writers)

    def add(self, writer: Writer) -> None:
        """Send a member the frames that follow."""
        self.flush()
        self._writers.add(writer)

    def remove(self, writer: Writer) -> None:
        """Send a member nothing more."""
        self._writers.discard(writer)
        writer.forget(self._source)

    def send(self, frame: bytes) -> None:
        """Send a frame at once if no batching window is open, else with the window."""
        self._waiting.append(frame)
        if self._window is None:  # soon: what came in the same packet is about to follow
            self._window = asyncio.get_running_loop().call_soon(self._open_window)

    def flush(self) -> None:
        """Write the frames that wait."""
        if not self._waiting:
            return
        began = time.perf_counter()
        data = b"".join(self._waiting)
        self._waiting.clear()
        for writer in self._writers:
            writer.push(data, self._source)
        took = time.perf_counter() - began
        STATS.fanout_seconds[bisect_left(BUCKETS, took)] += 1
        STATS.fanout_seconds_sum += took

    def _open_window(self) -> None:
        self._window = None
        if self._waiting:
            self.flush()
            window = min(WRITE * len(self._writers), WINDOW)
            self._window = asyncio.get_running_loop().call_later(window, self._open_window)
