"""When rooms are to be woken: the key that says so, and the contract of a store's index of it.

The truth is the key ALARM of a room, written by the commit of the action that called `wake`. An
index of all rooms cannot be part of that commit, as it may be on another server of a cluster. So it
is a hint, written before the commit: at the time of an entry, the room is asked. If its alarm is
later, that gets another entry. There may be entries without an alarm, of a commit that failed or
was followed by another. An entry stays GRACE longer than its time, as the commit that it was
written for may come late.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from gospa.store.codec import CodecError, encode, unpack
from gospa.store.content import HIDDEN

ALARM = f"{HIDDEN}alarm"
GRAIN = 500  # milliseconds; times are multiples
EARLY = 16  # a look comes early by at most this part of the wait
GRACE = 30_000  # milliseconds: longer than a commit may take


class Entry(NamedTuple):
    """A room, and when to look for its alarm: in milliseconds of the store's clock."""

    room: str
    due: int


class Due(NamedTuple):
    """The entries that are due, and the time by the store's clock."""

    now: int
    entries: Sequence[Entry]


class AlarmIndex(Protocol):
    """Which rooms are to be woken when. Every method raises StoreError if the store fails."""

    async def add(self, room: str, wait: int) -> int:
        """Add an entry `wait` milliseconds from now, rounded up to GRAIN; returns its time."""

    async def note(self, room: str, due: int) -> None:
        """Add an entry for an alarm of this time, if it is not there."""

    async def due(self, most: int) -> Due:
        """Entries whose time has come, the first ones; those of a failing server are left out."""

    async def stored(self, rooms: Sequence[str]) -> dict[str, int | None]:
        """The times of the alarms that rooms have, None without one.

        Rooms of a failing server are left out.
        """

    async def put_off(self, entries: Mapping[Entry, int]) -> None:
        """Have entries be due again at these times."""

    async def remove(self, entries: Sequence[Entry]) -> None:
        """Remove entries."""


def encoded_wait(milliseconds: int) -> bytes:
    """What an action writes for ALARM: how long from the commit on, as a number below 1."""
    return encode(-milliseconds)


def read_alarm(raw: bytes | None) -> int | None:
    """The time of an alarm, or below 1 how long it waits; None without one that can be read."""
    if raw is None:
        return None
    try:
        alarm = unpack(raw)
    except CodecError:
        alarm = None
    return alarm if type(alarm) is int else None


def look_at(now: int, due: int) -> int:
    """When to look for an alarm: early if it is far away.

    So the alarm of a room that puts it off again and again has few entries.
    """
    step = GRAIN
    while 2 * step * EARLY <= due - now:
        step *= 2
    return due if step == GRAIN else due - due % step


def rounded(milliseconds: int) -> int:
    """A time that an alarm may have, not before this one."""
    return -(-milliseconds // GRAIN) * GRAIN


async def timed(index: AlarmIndex, room: str, changed: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """What a commit sets: an alarm with its time in place of how long it waits.

    Its entry is in the index from here on. Raises StoreError.
    """
    alarm = read_alarm(changed.get(ALARM))
    if alarm is None or alarm > 0:
        return changed
    return {**changed, ALARM: encode(await index.add(room, -alarm))}
