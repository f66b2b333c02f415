"""The contract of a storage: bytes under a key, for a time."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from gospa.rates import Visitor


class Storage(Protocol):
    """Bytes with a time to live, in seconds. Every method raises StoreError if it fails."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None if there is none or it has expired."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of some keys, in their order. They share a round trip."""

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Store a value; without `ttl` it stays until it is deleted."""

    async def replace(
        self,
        key: str,
        old: bytes | None,
        new: bytes,
        *,
        ttl: float | None = None,
        visitor: Visitor | None = None,
    ) -> bool:
        """Compare-and-set: store `new` if the value is `old` (None: if there is none).

        Returns whether it was stored. `visitor` is whose value it is, for a storage that limits
        the share of each visitor; without one, it stays that of whoever had it.
        """

    async def delete(self, key: str) -> bool:
        """Delete a key; returns whether there was one. A no-op if absent."""

    def keys(self, prefix: str) -> AsyncIterator[str]:
        """All keys with this prefix, in no order. One may come twice; a new one may be missing."""


class Prefixed:
    """A storage whose keys all begin with a prefix."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix

    async def get(self, key: str) -> bytes | None:
        return await self._storage.get(self._prefix + key)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return await self._storage.get_many([self._prefix + key for key in keys])

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        await self._storage.set(self._prefix + key, value, ttl=ttl)

    async def replace(
        self,
        key: str,
        old: bytes | None,
        new: bytes,
        *,
        ttl: float | None = None,
        visitor: Visitor | None = None,
    ) -> bool:
        return await self._storage.replace(self._prefix + key, old, new, ttl=ttl, visitor=visitor)

    async def delete(self, key: str) -> bool:
        return await self._storage.delete(self._prefix + key)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        async for key in self._storage.keys(self._prefix + prefix):
            yield key.removeprefix(self._prefix)
