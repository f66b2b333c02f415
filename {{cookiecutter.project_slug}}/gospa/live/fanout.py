"""One frame to all members of a room: joined with what follows at once, written per socket."""

import asyncio

from gospa.extras import metrics
from gospa.live.writer import Outbox, Source

# Frames that follow another are joined into one write. They wait about as long as writing takes,
# so that a room under load writes half of the time, with few members as with many.
WRITE = 4e-6  # seconds for one member
WINDOW = 0.002  # seconds, the longest wait


class Fanout:
    """The outboxes of a room's members in this worker. Never waits for any of them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._outboxes: set[Outbox] = set()
        self._waiting: list[bytes] = []
        self._window: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self._outboxes)

    def add(self, outbox: Outbox) -> None:
        """Send to this member what is sent from now on."""
        self.flush()
        self._outboxes.add(outbox)

    def remove(self, outbox: Outbox) -> None:
        self._outboxes.discard(outbox)
        outbox.forget(self._source)

    def send(self, frame: bytes) -> None:
        """A frame after a pause goes at once; those that came with it or follow go together."""
        self._waiting.append(frame)
        if self._window is None:  # soon: what the store sent in the same packet is on its way here
            self._window = asyncio.get_running_loop().call_soon(self._open_window)

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            with metrics.FANOUT_SECONDS.time():
                for outbox in self._outboxes:
                    outbox.push(data, self._source)

    def _open_window(self) -> None:
        self._window = None
        if self._waiting:
            self.flush()
            window = min(WRITE * len(self._outboxes), WINDOW)
            self._window = asyncio.get_running_loop().call_later(window, self._open_window)
