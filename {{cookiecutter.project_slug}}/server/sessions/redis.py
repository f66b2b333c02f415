"""Storage in Redis, shared by all workers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from server.redis import connect, prepare, store_errors
from server.settings import Settings

__all__ = ["SHARED", "RedisStorage", "open_storage", "prepare"]

SHARED = True
REPLACE = """
if redis.call('GET', KEYS[1]) ~= (ARGV[4] == '' and ARGV[1]) then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator["RedisStorage"]:
    """A storage for all workers on all hosts of this Redis."""
    async with connect(settings) as client:
        yield RedisStorage(client, settings.key_prefix)


class RedisStorage:
    """Keeps each value under `<prefix><key>`."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    async def get(self, key: str) -> bytes | None:
        with store_errors():
            value: bytes | None = await self._client.get(self._prefix + key)
        return value

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        with store_errors():
            await self._client.set(self._prefix + key, value, px=_milliseconds(ttl))

    async def replace(
        self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None
    ) -> bool:
        arguments = [old or b"", new, _milliseconds(ttl) or "", "absent" if old is None else ""]
        with store_errors():
            return bool(await self._client.eval(REPLACE, 1, self._prefix + key, *arguments))

    async def delete(self, key: str) -> bool:
        with store_errors():
            return bool(await self._client.delete(self._prefix + key))

    async def keys(self, start: str) -> AsyncIterator[str]:
        with store_errors():
            async for key in self._client.scan_iter(f"{self._prefix}{start}*", count=1000):
                yield key.decode().removeprefix(self._prefix)


def _milliseconds(ttl: float | None) -> int | None:
    return None if ttl is None else max(1, round(ttl * 1000))
