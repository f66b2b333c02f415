"""What a storage is: bytes under a key, for a time."""

from collections.abc import AsyncIterator
from typing import Protocol


class Storage(Protocol):
    """Bytes with a time to live, in seconds. Every method raises StoreError if it fails."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None if there is none (any more)."""

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Store a value; without `ttl` it stays until it is deleted."""

    async def replace(
        self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None
    ) -> bool:
        """Store `new` if the value is still `old` (None: there is none), as one step.

        Whether that was so.
        """

    async def delete(self, key: str) -> bool:
        """Forget a key. Whether there was one."""

    def keys(self, start: str) -> AsyncIterator[str]:
        """All keys that begin so, in no order; one may come twice, or be missing if it is new."""
