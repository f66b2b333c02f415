"""State in the memory of this process: lost when it ends, not shared with other workers."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gospa.backends import Backend
from gospa.errors import StoreFull
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store import contract
from gospa.store.contract import NO_TAG, Change, Commit, Conflict, Refused, Snapshot, channel
from gospa.store.draft import growth

SWEEP = 60.0  # seconds
ROOM, CLIENT = 1024, 512  # bytes of a room and of a client's number, besides fields, about


@asynccontextmanager
async def open_state(settings: Settings, pubsub: PubSub) -> AsyncIterator["MemoryStateStore"]:
    """A store that publishes its commits on `pubsub`."""
    yield MemoryStateStore(pubsub, settings)


@dataclass(frozen=True, slots=True)
class _Last:
    """A client's last mutation, and the numbers of those before it that were refused."""

    number: int = 0
    version: int = 0
    tag: bytes = NO_TAG
    refused: Sequence[int] = ()
    expires: float = 0.0


@dataclass(slots=True)
class _Room:
    expires: float
    size: int = 0
    version: int = 0
    tag: bytes = NO_TAG
    fields: dict[str, bytes] = field(default_factory=dict)
    mutations: dict[bytes, _Last] = field(default_factory=dict)

    def meets(self, change: Change) -> bool:
        return (
            (self.version > 0) is change.exists
            and change.expect_tag in (None, self.tag)
            and all(self.fields.get(key) == raw for key, raw in change.expect.items())
        )

    def growth(self, change: Change) -> int:
        """By how many bytes, about, a change makes it larger."""
        new = [m for m in change.mutations if m.client not in self.mutations]
        return growth(self.fields, change.set, change.delete) + CLIENT * len(new)

    def apply(self, change: Change, remember_until: float) -> None:
        self.version += 1
        self.tag = change.tag
        self.fields.update(change.set)
        for key in change.delete:
            self.fields.pop(key, None)
        for mutation in change.mutations:
            last = self.mutations.get(mutation.client, _Last())
            later = [n for n in mutation.refused if n > last.number]
            refused = (*last.refused, *later)[-contract.MAX_REFUSED :]
            self.mutations[mutation.client] = _Last(
                mutation.number, self.version, self.tag, refused, remember_until
            )

    def known(self, change: Change) -> Commit | Refused | None:
        """The outcome of a change with a mutation that was applied or refused before."""
        for mutation in change.mutations:
            last = self.mutations.get(mutation.client, _Last())
            if mutation.number <= last.number:
                if mutation.number in last.refused:
                    return Refused()
                return Commit(last.version, repeated=last.tag != change.tag)
        return None


class MemoryStateStore:
    """Keeps rooms in a dict. Code without an await is atomic in an event loop."""

    def __init__(self, pubsub: PubSub, settings: Settings) -> None:
        self._pubsub = pubsub
        self._settings = settings
        self._size = 0
        self._sweep_at = 0.0
        self._rooms: dict[str, _Room] = {}
        self._leases: dict[str, float] = {}

    async def load(self, room: str) -> Snapshot | None:
        stored = self._live(room)
        if stored:
            stored.expires = time.monotonic() + self._settings.room_ttl
        return _snapshot(stored)

    async def commit(self, room: str, change: Change) -> Commit | Conflict | Refused:
        now, settings = time.monotonic(), self._settings
        self._sweep(now)
        stored = self._live(room)
        state = stored or _Room(now)
        if before := state.known(change):
            return before
        if not state.meets(change):
            return Conflict(_snapshot(stored))
        if not change:
            return Commit(state.version, state.tag)
        more = state.growth(change) + (0 if stored else ROOM)
        if more > 0 and self._size + more > settings.memory_size:
            raise StoreFull(f"the memory for rooms is full ({settings.memory_size} bytes)")
        self._size += more
        state.size += more
        parent = state.tag
        state.apply(change, now + settings.mutation_ttl)
        state.expires = now + settings.room_ttl
        self._rooms[room] = state
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

    def _sweep(self, now: float) -> None:
        """Drop expired rooms and mutation numbers, at most every SWEEP seconds."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP
        self._rooms = {key: room for key, room in self._rooms.items() if room.expires > now}
        for room in self._rooms.values():
            kept = {client: last for client, last in room.mutations.items() if last.expires > now}
            room.size -= CLIENT * (len(room.mutations) - len(kept))
            room.mutations = kept
        self._size = sum(room.size for room in self._rooms.values())

    def _live(self, room: str) -> _Room | None:
        stored = self._rooms.get(room)
        if stored and stored.expires <= time.monotonic():
            self._forget(room)
            return None
        return stored

    def _forget(self, room: str) -> None:
        forgotten = self._rooms.pop(room, None)
        self._size -= forgotten.size if forgotten else 0


def _snapshot(room: _Room | None) -> Snapshot | None:
    return Snapshot(room.version, room.tag, dict(room.fields)) if room else None


STATE = Backend(open_state, shared=False)
