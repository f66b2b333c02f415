"""A room's frames out to all its members in this worker."""

import asyncio
import time
from bisect import bisect_left

from gospa.live.frames import grouped
from gospa.live.writer import Position, Source, Writer
from gospa.stats import BUCKETS, STATS

# Frames that follow another are joined into one write. They wait about as long as writing takes,
# so that a busy room writes half of the time, with few members as with many.
WRITE = 4e-6  # seconds for one member
WINDOW = 0.002  # seconds, the longest wait


class Fanout:
    """Writes a room's frames to all its members in this worker, without waiting for any."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._writers: set[Writer] = set()
        self._waiting: list[bytes] = []
        self._window: asyncio.Handle | None = None
        # The state that all members were sent, and the state after the waiting frames.
        self._shown = self._next = source.position

    def __len__(self) -> int:
        return len(self._writers)

    def add(self, writer: Writer) -> None:
        """Send a member the frames that follow."""
        self.flush()
        self._shown = self._next = self._source.position
        self._writers.add(writer)

    def remove(self, writer: Writer) -> None:
        """Send a member nothing more."""
        self._writers.discard(writer)
        writer.forget(self._source)

    def send(self, *frames: bytes, position: Position | None = None) -> None:
        """Send frames at once if no batching window is open, else with the window.

        `position`: where they lead to; None for what is not a state.
        """
        self._waiting.extend(frames)
        self._next = position or self._next
        if self._window is None:  # soon: messages of the same packet follow at once
            self._window = asyncio.get_running_loop().call_soon(self._open_window)

    def flush(self) -> None:
        """Write the frames that wait."""
        if not self._waiting:
            return
        began = time.perf_counter()
        data = list(grouped(self._waiting))
        self._waiting.clear()
        for writer in self._writers:
            writer.push(data, self._source, self._shown)
        self._shown = self._next
        took = time.perf_counter() - began
        STATS.fanout_seconds[bisect_left(BUCKETS, took)] += 1
        STATS.fanout_seconds_sum += took

    def _open_window(self) -> None:
        self._window = None
        if self._waiting:
            self.flush()
            window = min(WRITE * len(self._writers), WINDOW)
            self._window = asyncio.get_running_loop().call_later(window, self._open_window)
