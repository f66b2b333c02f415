"""The unsent data for slow clients of this worker, bounded over all of them."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

RELIEF = 0.75  # of the limit, to which it is brought down when it is exceeded


class Waiting(Protocol):
    """A connection with unsent data."""

    def waiting(self) -> Iterable[bytes]:
        """The frames that wait for the client."""

    def owes(self, now: float) -> float:
        """The bytes by which the client is behind the rate at which it has to read."""

    def give_up(self) -> None:
        """Close the connection, and drop what waits."""


class Unsent:
    """The memory of frames that wait. Frames that several clients wait for count once.

    Above the limit, connections are closed: of those that hold more than others, the ones whose
    clients read the slowest come first. So many clients that wait for one snapshot, and a client
    that reads at all, are spared.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: dict[int, int] = {}
        self._connections: dict[Waiting, None] = {}  # a set in the order of their coming
        self._relief: asyncio.Handle | None = None
        self.total = 0

    def hold(self, connection: Waiting, frames: bytes) -> None:
        """Frames wait for a connection's client."""
        count = self._counts.get(id(frames), 0)
        self._counts[id(frames)] = count + 1
        self.total += 0 if count else len(frames)
        self._connections[connection] = None
        if self.total > self._limit and self._relief is None:  # soon: a room may be sending
            self._relief = asyncio.get_running_loop().call_soon(self._relieve)

    def release(self, frames: bytes) -> None:
        """They wait no longer for one of the clients."""
        count = self._counts.pop(id(frames)) - 1
        if count:
            self._counts[id(frames)] = count
        else:
            self.total -= len(frames)

    def forget(self, connection: Waiting) -> None:
        """Nothing waits for its client any more."""
        self._connections.pop(connection, None)

    def _relieve(self) -> None:
        self._relief = None
        now = asyncio.get_running_loop().time()
        while self._connections and self.total > RELIEF * self._limit:
            shares = {each: self._share(each) for each in self._connections}
            mean = sum(shares.values()) / len(shares)
            large = [each for each, share in shares.items() if share >= mean / 2]
            for each in sorted(large, key=lambda connection: -connection.owes(now)):
                each.give_up()
                self.forget(each)
                if self.total <= RELIEF * self._limit:
                    break

    def _share(self, connection: Waiting) -> float:
        """The bytes that wait for a client, each divided among those who wait for it."""
        return sum(len(each) / self._counts[id(each)] for each in connection.waiting())
