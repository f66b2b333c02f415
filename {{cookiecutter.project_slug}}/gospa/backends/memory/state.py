"""State in the memory of this process: lost when it ends, not shared with other workers."""

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from gospa.backends import Backend
from gospa.errors import StoreFull
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store import contract
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
from gospa.store.draft import growth

SWEEP = 60.0  # seconds
# Bytes, about: of a room besides its fields, of a source's record, and of a refused number in it
ROOM, RECORD, NUMBER = 1024, 512, 40


@asynccontextmanager
async def open_state(settings: Settings, pubsub: PubSub) -> AsyncIterator["MemoryStateStore"]:
    """A store that publishes its commits on `pubsub`."""
    yield MemoryStateStore(pubsub, settings)


@dataclass(slots=True)
class _Room:
    expires: float
    size: int = ROOM
    version: int = 0
    tag: bytes = NO_TAG
    fields: dict[str, bytes] = field(default_factory=dict)

    def obstacle(self, change: Change) -> Conflict | Moved | None:
        """Why a change cannot be applied, or None."""
        if (self.version > 0) is not change.exists or change.expect_tag not in (None, self.tag):
            return Moved(self.snapshot() if self.version else None)
        values = {key: self.fields.get(key) for key in change.expect}
        differ = {key: raw for key, raw in values.items() if raw != change.expect[key]}
        return Conflict(differ) if differ else None

    def snapshot(self) -> Snapshot:
        return Snapshot(self.version, self.tag, dict(self.fields))

    def apply(self, change: Change) -> None:
        self.version += 1
        self.tag = change.tag
        self.fields.update(change.set)
        for key in change.delete:
            self.fields.pop(key, None)


_Records = dict[tuple[str, str], Record]  # by room and source


def _size(records: Iterable[Record]) -> int:
    return sum(RECORD + NUMBER * len(record.refused) for record in records)


class MemoryStateStore:
    """Keeps rooms in a dict. Code without an await is atomic in an event loop."""

    def __init__(self, pubsub: PubSub, settings: Settings) -> None:
        self._pubsub = pubsub
        self._settings = settings
        self._size = 0
        self._sweep_at = 0.0
        self._rooms: dict[str, _Room] = {}
        self._records: dict[tuple[str, str], tuple[Record, float]] = {}  # and when they expire
        self._leases: dict[str, float] = {}

    async def load(self, room: str) -> Snapshot | None:
        stored = self._live(room)
        if stored is None:
            return None
        stored.expires = time.monotonic() + self._settings.room_ttl
        return stored.snapshot()

    async def commit(self, room: str, change: Change) -> Outcome:
        now, settings = time.monotonic(), self._settings
        self._sweep(now)
        stored = self._live(room)
        state = stored or _Room(now)
        if known := self._known(room, state.version, change):
            return known
        if obstacle := state.obstacle(change):
            return obstacle
        parent = state.tag
        records = self._after(room, state.version + bool(change), change)
        self._grow(state, change, records)
        if change:
            state.apply(change)
            state.expires = now + settings.room_ttl
            self._rooms[room] = state
        for mutations in change.mutations:
            if mutations.ttl:
                key = (room, mutations.source)
                self._records[key] = (records[key], now + mutations.ttl)
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

    async def delete(self, room: str) -> None:
        self._forget(room)
        await self._pubsub.publish(channel(room), b"")

    def _known(self, room: str, newest: int, change: Change) -> Known | None:
        """The records of a change's sources if one of its mutations is in them.

        The room may have been deleted since: a client would wait for a version beyond the newest.
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
        record, expires = self._records.get((room, source), (None, 0.0))
        return record if expires > time.monotonic() else None

    def _after(self, room: str, version: int, change: Change) -> _Records:
        """The records of a change's sources once it is applied, of those that are kept."""
        return {
            (room, each.source): (self._record(room, each.source) or Record()).after(
                each, version, change.tag
            )
            for each in change.mutations
            if each.ttl
        }

    def _grow(self, state: _Room, change: Change, records: _Records) -> None:
        """Count the bytes, about, by which a change makes the store larger. Raises StoreFull."""
        more = growth(state.fields, change.set, change.delete)
        before = [kept for key in records if (kept := self._records.get(key))]
        recorded = _size(records.values()) - _size(record for record, _ in before)
        total = more + recorded + (ROOM if change and not state.version else 0)
        if total > 0 and self._size + total > self._settings.memory_size:
            raise StoreFull(f"the memory for rooms is full ({self._settings.memory_size} bytes)")
        state.size += more
        self._size += total

    def _sweep(self, now: float) -> None:
        """Drop expired rooms and records, at most every SWEEP seconds."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP
        self._rooms = {key: room for key, room in self._rooms.items() if room.expires > now}
        self._records = {key: kept for key, kept in self._records.items() if kept[1] > now}
        rooms = sum(room.size for room in self._rooms.values())
        self._size = rooms + _size(record for record, _ in self._records.values())

    def _live(self, room: str) -> _Room | None:
        stored = self._rooms.get(room)
        if stored and stored.expires <= time.monotonic():
            self._forget(room)
            return None
        return stored

    def _forget(self, room: str) -> None:
        forgotten = self._rooms.pop(room, None)
        self._size -= forgotten.size if forgotten else 0


STATE = Backend(open_state, shared=False)
