"""The times of rooms' alarms: the key that holds them, and the contract of a store's index.

Authoritative is the key ALARM of a room, written by the commit of the action that called `wake`. An
index of all rooms cannot be part of that commit, because it may be on another server of a cluster.
So an entry of the index is a hint, written before the commit: at its time, a worker reads the
room's ALARM. If the alarm is later, it gets another entry. Entries without an alarm exist if a
commit failed or was followed by another. An entry is kept for GRACE after its time, because its
commit may be late.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from gospa.store.codec import CodecError, encode, unpack
from gospa.store.content import HIDDEN

ALARM = f"{HIDDEN}alarm"
GRAIN = 500  # milliseconds; times are multiples of it
EARLY = 16  # an entry is early by at most this fraction of the wait
GRACE = 30_000  # milliseconds: longer than a commit may take


class Entry(NamedTuple):
    """A room, and when to check its alarm: in milliseconds of the store's clock."""

    room: str
    due: int


class Due(NamedTuple):
    """The entries that are due, and the time by the store's clock."""

    now: int
    entries: Sequence[Entry]


class AlarmIndex(Protocol):
    """The index of rooms by the time of their alarm. Every method raises StoreError if it fails."""

    async def add(self, room: str, wait: int) -> int:
        """Add an entry `wait` milliseconds from now, rounded up to GRAIN; returns its time."""

    async def note(self, room: str, due: int) -> None:
        """Add an entry for an alarm of this time, if it is not there."""

    async def due(self, most: int) -> Due:
        """The first entries that are due; those of a failing server are left out."""

    async def stored(self, rooms: Sequence[str]) -> dict[str, int | None]:
        """The times of the alarms that rooms have, None without one.

        Rooms of a failing server are left out.
        """

    async def put_off(self, entries: Mapping[Entry, int]) -> None:
        """Postpone entries to these times."""

    async def remove(self, entries: Sequence[Entry]) -> None:
        """Remove entries."""


def encoded_wait(milliseconds: int) -> bytes:
    """The value that an action writes for ALARM: the wait from the commit on, negated."""
    return encode(-milliseconds)


def read_alarm(raw: bytes | None) -> int | None:
    """The time of an alarm, or, if not above 0, its wait, negated; None if none can be read."""
    if raw is None:
        return None
    try:
        alarm = unpack(raw)
    except CodecError:
        alarm = None
    return alarm if type(alarm) is int else None


def look_at(now: int, due: int) -> int:
    """When to check an alarm: early if it is far away.

    So a room that postpones its alarm again and again has few entries.
    """
    step = GRAIN
    while 2 * step * EARLY <= due - now:
        step *= 2
    return due if step == GRAIN else due - due % step


def rounded(milliseconds: int) -> int:
    """This time, rounded up to one that an alarm may have."""
    return -(-milliseconds // GRAIN) * GRAIN


async def timed(index: AlarmIndex, room: str, changed: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The values that a commit sets, with the time of an alarm instead of its wait.

    Adds its entry to the index. Raises StoreError.
    """
    alarm = read_alarm(changed.get(ALARM))
    if alarm is None or alarm > 0:
        return changed
    return {**changed, ALARM: encode(await index.add(room, -alarm))}
