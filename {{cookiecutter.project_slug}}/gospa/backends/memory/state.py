"""State in the memory of this process: lost when it ends, not shared with other workers."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from gospa.backends import Backend
from gospa.backends.memory.alarms import MemoryAlarmIndex, clock
from gospa.backends.memory.shares import Holders, Shares
from gospa.errors import StoreFull
from gospa.pubsub import PubSub
from gospa.rates import Visitor
from gospa.settings import Settings
from gospa.store import contract
from gospa.store.alarms import ALARM, read_alarm
from gospa.store.content import RECORD, ROOM, Content, growth
from gospa.store.contract import (
    NO_TAG,
    Change,
    Commit,
    Conflict,
    Known,
    Moved,
    Outcome,
    Record,
    Snapshot,
    channel,
)
from gospa.trouble import report

SWEEP = 60.0  # seconds
NUMBER = 40  # bytes of a refused number in a record, about


@asynccontextmanager
async def open_state(settings: Settings, pubsub: PubSub) -> AsyncIterator["MemoryStateStore"]:
    """A store that publishes its commits on `pubsub`."""
    yield MemoryStateStore(pubsub, settings)


@dataclass(slots=True)
class _Room:
    expires: float
    version: int = 0
    tag: bytes = NO_TAG
    content: Content = field(default_factory=lambda: Content({}, {}))
    visited: bool = False  # whether it has only been visited
    holders: Holders = field(default_factory=Holders)

    def obstacle(self, change: Change) -> Conflict | Moved | None:
        """Why a change cannot be applied, or None."""
        epochs = {name: self.content.epoch(name) for name in change.expect_epochs}
        if (
            (self.version > 0) is not change.exists
            or change.expect_tag not in (None, self.tag)
            or epochs != change.expect_epochs
        ):
            return Moved(self.snapshot() if self.version else None)
        values = {key: self.content.get(key) for key in change.expect}
        differ = {key: raw for key, raw in values.items() if raw != change.expect[key]}
        return Conflict(differ) if differ else None

    def snapshot(self) -> Snapshot:
        return Snapshot(self.version, self.tag, *self.content.copied())

    def apply(self, change: Change) -> None:
        self.tag = change.tag
        self.content.apply(change.set, change.delete, change.tag)


_Records = dict[tuple[str, str], Record]  # by room and source


class _Kept(NamedTuple):
    """A record in the store, when it expires, and the visitor of its mutations."""

    record: Record
    expires: float
    visitor: Visitor | None


def _size(records: Iterable[Record]) -> int:
    return sum(RECORD + NUMBER * len(record.refused) for record in records)


def _added(change: Change, overhead: int) -> Counter[Visitor]:
    """The bytes that each visitor adds; the first one also pays the overhead."""
    added = Counter[Visitor]()
    numbered = [(each.visitor, each.grown) for each in change.mutations if each.visitor]
    for visitor, grown in (*numbered, *change.unnumbered):
        added[visitor] += grown + overhead
        overhead = 0
    return added


class MemoryStateStore:
    """Keeps rooms in a dict. Code without an await is atomic in an event loop."""

    def __init__(self, pubsub: PubSub, settings: Settings) -> None:
        self._pubsub = pubsub
        self._settings = settings
        self._size = 0
        self._shares = Shares()
        self._sweep_at = 0.0
        self._rooms: dict[str, _Room] = {}
        self._records: dict[tuple[str, str], _Kept] = {}
        self._leases: dict[str, float] = {}
        self.alarms = MemoryAlarmIndex(self._alarm)

    async def load(self, room: str, *, renew: bool = True) -> Snapshot | None:
        stored = self._live(room)
        if stored is None:
            return None
        if renew:
            self._renew(room, stored)
        return stored.snapshot()

    async def commit(self, room: str, change: Change) -> Outcome:
        now = time.monotonic()
        self._sweep(now)
        stored = self._live(room)
        state = stored or _Room(now)
        if known := self._known(room, state.version, change):
            return known
        if obstacle := state.obstacle(change):
            return obstacle
        parent = state.tag
        least = time.time_ns() // 1000 if change.clocked else 0
        version = max(state.version, least) + 1 if change else state.version
        records = self._after(room, version, change)
        self._grow(state, change, records)
        if change:
            state.visited = change.visit and (state.visited or not state.version)
            state.version = version
            state.apply(change)
            self._rooms[room] = state
            self._renew(room, state)
            added = _added(change, ROOM if stored is None else 0)
            size = ROOM + state.content.size
            self._shares.add(state.holders.add(added, size))
            if state.visited and not state.content.fields:
                self._forget(room)
        for mutations in change.mutations:
            if mutations.ttl:
                key = (room, mutations.source)
                if key not in self._records and mutations.visitor:
                    self._shares.add({mutations.visitor: RECORD})
                self._records[key] = _Kept(records[key], now + mutations.ttl, mutations.visitor)
        if change:
            await self._pubsub.publish(
                channel(room), contract.splice(change.message, state.version, parent)
            )
        return Commit(state.version, parent)

    async def latest_tags(self, rooms: Sequence[str]) -> dict[str, bytes]:
        loaded = {room: await self.load(room) for room in rooms}
        return {room: found.tag if found else NO_TAG for room, found in loaded.items()}

    async def hold_lease(self, lease: str, ttl: float) -> None:
        self._leases[lease] = time.monotonic() + ttl

    async def expired_leases(self, leases: Sequence[str]) -> list[str]:
        now = time.monotonic()
        return [lease for lease in leases if self._leases.get(lease, 0.0) <= now]

    async def names(self) -> AsyncIterator[str]:
        for room in list(self._rooms):
            if self._live(room):
                yield room

    async def damaged(self) -> AsyncIterator[tuple[str, str]]:
        nothing: tuple[tuple[str, str], ...] = ()  # this process itself has stored everything
        for each in nothing:
            yield each

    async def delete(self, room: str) -> None:
        self._forget(room)
        await self._pubsub.publish(channel(room), b"")

    def _known(self, room: str, newest: int, change: Change) -> Known | None:
        """The records of a change's sources if one of its mutations is in them.

        The room may have been deleted since: a client must not wait for a version above the newest.
        """
        found = {
            mutations.source: replace(record, version=min(record.version, newest))
            for mutations in change.mutations
            if (record := self._record(room, mutations.source))
        }
        repeated = any(
            mutations.first <= found.get(mutations.source, Record()).last
            for mutations in change.mutations
        )
        return Known(found) if repeated else None

    def _record(self, room: str, source: str) -> Record | None:
        kept = self._records.get((room, source))
        return kept.record if kept and kept.expires > time.monotonic() else None

    def _after(self, room: str, version: int, change: Change) -> _Records:
        """The records of a change's sources after it, of those that are kept."""
        return {
            (room, each.source): (self._record(room, each.source) or Record()).after(
                each, version, change.tag
            )
            for each in change.mutations
            if each.ttl
        }

    def _grow(self, state: _Room, change: Change, records: _Records) -> None:
        """Count the bytes, about, by which a change makes the store larger. Raises StoreFull."""
        more = growth(state.content, change.set, change.delete)
        before = [kept for key in records if (kept := self._records.get(key))]
        recorded = _size(records.values()) - _size(kept.record for kept in before)
        total = more + recorded + (ROOM if change and not state.version else 0)
        if total > 0 and self._size + total > self._settings.memory_size:
            limit = self._settings.memory_size
            text = f"the memory for rooms is full ({limit} bytes, GOSPA_MEMORY_SIZE)"
            report("store_full", text)
            raise StoreFull(text)
        added = _added(change, total - more)
        self._shares.check(added, self._settings.memory_size - self._size)
        self._size += total

    def _sweep(self, now: float) -> None:
        """Drop expired rooms and records, at most every SWEEP seconds."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP
        self._rooms = {key: room for key, room in self._rooms.items() if room.expires > now}
        self._records = {key: kept for key, kept in self._records.items() if kept.expires > now}
        rooms = sum(ROOM + room.content.size for room in self._rooms.values())
        self._size = rooms + _size(kept.record for kept in self._records.values())
        self._shares = Shares(room.holders.held for room in self._rooms.values())
        for kept in self._records.values():
            if kept.visitor:
                self._shares.add({kept.visitor: RECORD})

    def _live(self, room: str) -> _Room | None:
        stored = self._rooms.get(room)
        if stored and stored.expires <= time.monotonic():
            self._forget(room)
            return None
        return stored

    def _forget(self, room: str) -> None:
        if forgotten := self._rooms.pop(room, None):
            self._size -= ROOM + forgotten.content.size
            held = forgotten.holders.held
            self._shares.add({visitor: -bytes_ for visitor, bytes_ in held.items()})

    def _renew(self, room: str, stored: _Room) -> None:
        settings = self._settings
        ttl = settings.visited_ttl if stored.visited else contract.lifetime(room, settings)
        wait = max((self._alarm(room) or 0) - clock(), 0) / 1000
        stored.expires = time.monotonic() + ttl + wait

    def _alarm(self, room: str) -> int | None:
        stored = self._rooms.get(room)
        return read_alarm(stored.content.get(ALARM)) if stored else None


STATE = Backend(open_state, shared=False)
