"""Storage in the memory of this process: lost when it ends, not shared with other workers."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from gospa.backends import Backend
from gospa.backends.memory.shares import Shares
from gospa.errors import StoreFull
from gospa.rates import Visitor
from gospa.settings import Settings
from gospa.trouble import report

SWEEP = 10.0  # seconds after which a write drops what has expired
OVERHEAD = 256  # bytes that an entry takes besides its key and value, about


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator["MemoryStorage"]:
    """A storage of this process."""
    yield MemoryStorage(settings.memory_size)


class _Entry(NamedTuple):
    """A value, when it expires, and whose it is."""

    value: bytes
    expires: float
    visitor: Visitor | None


class MemoryStorage:
    """Keeps values in a dict. Code without an await is atomic in an event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, _Entry] = {}
        self._shares = Shares()
        self._size = 0
        self._sweep_at = 0.0

    async def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        return entry.value if entry and entry.expires > time.monotonic() else None

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [await self.get(key) for key in keys]

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        self._store(key, value, ttl, None)

    async def replace(
        self,
        key: str,
        old: bytes | None,
        new: bytes,
        *,
        ttl: float | None = None,
        visitor: Visitor | None = None,
    ) -> bool:
        if await self.get(key) != old:
            return False
        self._store(key, new, ttl, visitor)
        return True

    async def delete(self, key: str) -> bool:
        existed = await self.get(key) is not None
        self._remove(key)
        return existed

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        for key in list(self._entries):
            if key.startswith(prefix) and await self.get(key) is not None:
                yield key

    def _store(self, key: str, value: bytes, ttl: float | None, visitor: Visitor | None) -> None:
        now = time.monotonic()
        self._sweep(now)
        before = self._entries.get(key)
        more = _size(key, value) - (_size(key, before.value) if before else 0)
        owner = self._owner(before, visitor, more)
        self._require_space(more, owner)
        self._remove(key)
        self._entries[key] = _Entry(value, float("inf") if ttl is None else now + ttl, owner)
        self._count(key, self._entries[key], 1)

    def _owner(self, before: _Entry | None, visitor: Visitor | None, more: int) -> Visitor | None:
        """Whose a value is: that of another visitor only if its share has space for it.

        Otherwise, with two networks a client could fill one share again and again.
        """
        owner = before.visitor if before else None
        if owner is None or visitor is None:
            return visitor or owner
        moves = self._shares.allows(visitor, more, self._limit - self._size)
        return visitor if moves else owner

    def _require_space(self, more: int, visitor: Visitor | None) -> None:
        if more > 0 and self._size + more > self._limit:
            text = f"the memory for sessions is full ({self._limit} bytes, GOSPA_MEMORY_SIZE)"
            report("store_full", text)
            raise StoreFull(text)
        if visitor:
            self._shares.check({visitor: more}, self._limit - self._size)

    def _remove(self, key: str) -> None:
        if entry := self._entries.pop(key, None):
            self._count(key, entry, -1)

    def _count(self, key: str, entry: _Entry, sign: int) -> None:
        size = sign * _size(key, entry.value)
        self._size += size
        if entry.visitor:
            self._shares.add({entry.visitor: size})

    def _sweep(self, now: float) -> None:
        """Drop expired values, at most every SWEEP seconds."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP
        for key in [key for key, entry in self._entries.items() if entry.expires <= now]:
            self._remove(key)


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + OVERHEAD


STORAGE = Backend(open_storage, shared=False)
