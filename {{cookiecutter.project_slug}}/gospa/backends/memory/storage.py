"""Storage in the memory of this process: lost when it ends, not shared with other workers."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gospa.backends import Backend
from gospa.errors import StoreFull
from gospa.settings import Settings
from gospa.trouble import report

SWEEP = 1024  # writes after which expired values are dropped
OVERHEAD = 256  # bytes that an entry takes besides its key and value, about


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator["MemoryStorage"]:
    """A storage of this process."""
    yield MemoryStorage(settings.memory_size)


class MemoryStorage:
    """Keeps values in a dict. Code without an await is atomic in an event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: dict[str, tuple[bytes, float]] = {}
        self._size = 0
        self._writes = 0

    async def get(self, key: str) -> bytes | None:
        value, expires = self._values.get(key, (None, 0.0))
        return value if expires > time.monotonic() else None

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        self._writes += 1
        if self._writes % SWEEP == 0:
            self._sweep()
        more = _size(key, value) - self._taken(key)
        if more > 0 and self._size + more > self._limit:
            text = f"the memory for sessions is full ({self._limit} bytes, GOSPA_MEMORY_SIZE)"
            report("store_full", text)
            raise StoreFull(text)
        self._size += more
        self._values[key] = (value, float("inf") if ttl is None else time.monotonic() + ttl)

    async def replace(
        self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None
    ) -> bool:
        if await self.get(key) != old:
            return False
        await self.set(key, new, ttl=ttl)
        return True

    async def delete(self, key: str) -> bool:
        existed = await self.get(key) is not None
        self._size -= self._taken(key)
        self._values.pop(key, None)
        return existed

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        for key in list(self._values):
            if key.startswith(prefix) and await self.get(key) is not None:
                yield key

    def _taken(self, key: str) -> int:
        return _size(key, self._values[key][0]) if key in self._values else 0

    def _sweep(self) -> None:
        now = time.monotonic()
        self._values = {k: entry for k, entry in self._values.items() if entry[1] > now}
        self._size = sum(_size(key, value) for key, (value, _) in self._values.items())


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + OVERHEAD


STORAGE = Backend(open_storage, shared=False)
