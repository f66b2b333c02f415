"""Storage in Redis, shared by all workers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gospa.backends import Backend
from gospa.backends.redis.client import ask, connect, text_of
from gospa.backends.redis.errors import store_errors
from gospa.backends.redis.startup import prepare
from gospa.rates import Visitor
from gospa.settings import Settings

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
        (value,) = await ask(self._client, ("GET", self._prefix + key))
        return value

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return await ask(self._client, *(("GET", self._prefix + key) for key in keys))

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        lasting = () if ttl is None else ("PX", _milliseconds(ttl))
        await ask(self._client, ("SET", self._prefix + key, value, *lasting))

    async def replace(
        self,
        key: str,
        old: bytes | None,
        new: bytes,
        *,
        ttl: float | None = None,
        visitor: Visitor | None = None,
    ) -> bool:
        lasting = "" if ttl is None else _milliseconds(ttl)
        arguments = (old or b"", new, lasting, "absent" if old is None else "")
        script = ("EVAL", REPLACE, 1, self._prefix + key, *arguments)
        (replaced,) = await ask(self._client, script)
        return bool(replaced)

    async def delete(self, key: str) -> bool:
        (count,) = await ask(self._client, ("DEL", self._prefix + key))
        return bool(count)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        with store_errors():
            async for key in self._client.scan_iter(f"{self._prefix}{prefix}*", count=1000):
                if (name := text_of(key)) is not None:
                    yield name.removeprefix(self._prefix)


def _milliseconds(ttl: float) -> int:
    return max(1, round(ttl * 1000))


STORAGE = Backend(open_storage, shared=True, prepare=prepare)
