"""Runs alarms that are due, whichever worker set them.

Each worker polls the index. The commit of a run expects the alarm and deletes it, so one worker
wins, and the alarm runs once.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextvars import Context
from typing import Any, Protocol

from gospa import tasks
from gospa.errors import StoreError, UnknownRoom
from gospa.live.router import Router
from gospa.room import Room
from gospa.stats import STATS
from gospa.store.alarms import GRACE, AlarmIndex, Entry
from gospa.store.draft import Run
from gospa.trouble import warn_seldom

POLL = 0.5  # seconds between polls of the index,
AGAIN = 0.05  # and after a poll that may not have read all due entries
MOST = 200  # entries that one poll reads from each part of the index, without the skipped ones
MOST_PASSED = 10_000  # entries that it may skip
RETRY = 30_000  # milliseconds until an alarm that failed runs again,
SOON = 1000  # or one for which the store failed
FOREIGN = 60_000  # milliseconds after which an alarm of another release is checked less often


class Hub(Protocol):
    """The rooms of this worker."""

    router: Router
    draining: bool

    async def submit(self, key: str, room: Room[Any], run: Run, *, name: str, visit: bool) -> Any:
        """Run a change in a room's queue; returns its result."""


class Waker:
    """Runs alarms that are due."""

    def __init__(self, hub: Hub, index: AlarmIndex) -> None:
        self._hub, self._index = hub, index
        self._running: dict[str, asyncio.Task[None]] = {}  # by room
        self._passed = 0  # entries that the last poll skipped
        self.pause = POLL  # seconds until the next poll

    async def run(self) -> None:
        """Poll the index until cancelled."""
        try:
            while True:
                jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spread, not a secret
                await asyncio.sleep(self.pause * jitter)
                if not self._hub.draining:
                    await self.poll()
        finally:
            await tasks.stop(*self._running.values())

    async def poll(self) -> None:
        """Run the due alarms of the entries that one poll reads."""
        try:
            most = MOST + min(self._passed, MOST_PASSED)
            now, entries = await self._index.due(most)
            self.pause = AGAIN if len(entries) >= most else POLL
            found = {entry.room: self._room(entry.room) for entry in entries}
            rooms = {key: room for key, room in found.items() if room is not None}
            known = [entry for entry in entries if entry.room in rooms]
            alarms = await self._index.stored([*dict.fromkeys(entry.room for entry in known)])
            foreign = [entry for entry in entries if entry.room not in rooms]
            await self._pass_by(now, foreign, known, alarms)
        except StoreError as error:
            warn_seldom("alarms", "due alarms cannot be read: %s", error)
            return
        due = defaultdict[str, list[Entry]](list)
        for entry in known:
            if _is_due(alarms.get(entry.room), now):
                due[entry.room].append(entry)
        # These stay at the front of the index for a while; the next poll reads beyond them.
        self._passed = len(foreign) + sum(entry.room in self._running for entry in known)
        for key in due.keys() - self._running.keys():
            waking = self._wake(key, rooms[key], now, due[key])
            self._running[key] = tasks.start(waking, f"alarm of {key}", Context())

    def _room(self, key: str) -> Room[Any] | None:
        """The room, if this release has its class, and that an alarm."""
        try:
            room = self._hub.router.stored(key)
        except UnknownRoom:
            return None
        return room if room.alarms else None

    async def _pass_by(
        self,
        now: int,
        foreign: Sequence[Entry],
        known: Sequence[Entry],
        alarms: Mapping[str, int | None],
    ) -> None:
        """Postpone entries for which no alarm is due; remove old ones."""
        later = {each: now + FOREIGN for each in foreign if each.due <= now - FOREIGN}
        later |= {each: now + SOON for each in known if each.room not in alarms}  # it failed
        asked = [each for each in known if each.room in alarms]
        idle = [each for each in asked if not _is_due(alarms[each.room], now)]
        later |= {each: each.due + GRACE for each in idle if each.due + GRACE > now}
        for room in {each.room for each in idle}:
            if alarm := alarms[room]:  # it is postponed, or its entry was early
                await self._index.note(room, alarm)
        if later:
            await self._index.put_off(later)
        if old := [each for each in idle if each not in later]:
            await self._index.remove(old)

    async def _wake(self, key: str, room: Room[Any], now: int, entries: Sequence[Entry]) -> None:
        (alarm,) = room.alarms.values()
        try:
            run = alarm.bind(room, now)
            STATS.alarms += await self._hub.submit(key, room, run, name=alarm.name, visit=True)
        except Exception as error:  # noqa: BLE001 - of the store, or of the room's code; it is logged
            STATS.alarms_failed += 1
            store = isinstance(error, StoreError)
            delay = SOON if store else RETRY
            text = "the alarm of room %s failed: it is run again in %d s"
            kind = ("alarm", room.pattern)  # visitors may cause it in many rooms
            cause = None if store else error
            warn_seldom(kind, text, room.name, delay // 1000, error=cause)
            if not self._hub.draining:
                await self._index.put_off(dict.fromkeys(entries, now + delay))
        finally:
            del self._running[key]


def _is_due(alarm: int | None, now: int) -> bool:
    return alarm is not None and alarm <= now
