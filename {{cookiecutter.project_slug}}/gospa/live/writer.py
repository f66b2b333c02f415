"""What one connection is still to be sent. It never holds more than a little for a slow client."""

import asyncio
from typing import Protocol

from gospa.stats import Counters

HIGH_WATER = 256 * 1024  # bytes that the transport may hold before the connection is behind


class Source(Protocol):
    """A room whose current state can be sent anew."""

    def snapshot_frame(self) -> bytes:
        """Its state as a framed SNAPSHOT, with all that was pushed and nothing that will be."""


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


class Outbox:
    """Writes frames to a transport. While that is full, rooms fall behind instead of queueing."""

    def __init__(self, transport: asyncio.Transport, counters: Counters) -> None:
        self._transport = transport
        self._counters = counters
        self._behind: set[Source] = set()
        self.full_since: float | None = None
        self._left = 0
        transport.set_write_buffer_limits(high=HIGH_WATER, low=HIGH_WATER // 8)

    def send(self, message: bytes) -> None:
        """Answer the client: sent even when it is behind, as it asked for it."""
        self.write(framed(message))

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._counters.sent += len(data)
            self._transport.write(data)

    def push(self, data: bytes, source: Source) -> None:
        """Send what happened in a room, or skip it and send the room's state later."""
        if self.full_since is None and source not in self._behind:
            self.write(data)
        else:
            self._behind.add(source)
            self._counters.skipped += 1

    def forget(self, source: Source) -> None:
        """The client left the room."""
        self._behind.discard(source)

    def pause(self, now: float) -> None:
        """The transport is over its high-water mark."""
        self.full_since = now
        self._counters.behind += 1

    def stuck_for(self, now: float) -> float:
        """Seconds since the transport was last seen to take something; 0 if it is not full."""
        if self.full_since is None:
            return 0
        left = self._transport.get_write_buffer_size()
        if left < self._left:
            self.full_since = now
        self._left = left
        return now - self.full_since

    def resume(self) -> None:
        """The transport is drained: bring every room that is behind up to date."""
        self.full_since = None
        while self._behind and self.full_since is None:
            source = next(iter(self._behind))
            frame = source.snapshot_frame()
            self._behind.remove(source)  # now: what the snapshot holds is not pushed any more
            self.write(frame)
