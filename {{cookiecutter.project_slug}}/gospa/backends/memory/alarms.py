"""The index of alarms in the memory of this process."""

import time
from collections.abc import Callable, Mapping, Sequence

from gospa.store.alarms import Due, Entry, look_at, rounded


class MemoryAlarmIndex:
    """Keeps entries in a dict, with the time of the next check."""

    def __init__(self, alarm_of: Callable[[str], int | None]) -> None:
        """`alarm_of` gives the time of a room's alarm."""
        self._alarm_of = alarm_of
        self._entries: dict[Entry, int] = {}

    async def add(self, room: str, wait: int) -> int:
        due = rounded(clock() + wait)
        await self.note(room, due)
        return due

    async def note(self, room: str, due: int) -> None:
        at = look_at(clock(), due)
        self._entries.setdefault(Entry(room, at), at)

    async def due(self, most: int) -> Due:
        now = clock()
        due = sorted((at, entry) for entry, at in self._entries.items() if at <= now)
        return Due(now, [entry for _, entry in due[:most]])

    async def stored(self, rooms: Sequence[str]) -> dict[str, int | None]:
        return {room: self._alarm_of(room) for room in rooms}

    async def put_off(self, entries: Mapping[Entry, int]) -> None:
        for entry in entries.keys() & self._entries.keys():
            self._entries[entry] = entries[entry]

    async def remove(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._entries.pop(entry, None)


def clock() -> int:
    """Milliseconds of this store's clock."""
    return time.time_ns() // 1_000_000
