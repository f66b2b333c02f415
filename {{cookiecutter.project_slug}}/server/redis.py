"""The connection to Redis or Valkey: client, start-up check, errors in our own terms."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any

import msgspec
import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sanic.log import logger

from server import devstore
from server.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from server.settings import Settings, SettingsError

OLDEST = (6, 2)
_CLOSED = "the handler is closed"  # says uvloop where asyncio raises a ConnectionError
# Answers of a server that is alive but cannot serve this now; redis-py has no types for some.
_PASSING = ("BUSY", "LOADING", "MASTERDOWN", "READONLY", "MISCONF", "TRYAGAIN", "CLUSTERDOWN")


@contextmanager
def prepare(settings: Settings) -> Iterator[Settings]:
    """For the main process: a reachable server, started here if development needs one.

    Raises SettingsError with the remedy if there is none. Workers inherit the address by the
    environment.
    """
    with _development_store(settings) as url:
        settings = settings if settings.redis_url else _with_url(settings, url)
        asyncio.run(_check(settings))
        os.environ["REDIS_URL"] = settings.redis_url
        yield settings


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Any]:
    """A client with a pool of its own. Commands are not repeated behind the caller's back."""
    client = make_client(settings)
    try:
        yield client
    finally:
        await client.aclose()


def make_client(settings: Settings) -> Any:
    """An unconnected client; waiting for an answer ends after `store_timeout`."""
    pool = aioredis.BlockingConnectionPool.from_url(
        settings.redis_url,
        timeout=settings.store_timeout,
        socket_timeout=settings.store_timeout,
        socket_connect_timeout=settings.store_timeout,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        max_connections=32,
    )
    return aioredis.Redis.from_pool(pool)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn redis-py's exceptions into ours."""
    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        raise StoreUnavailable(f"Redis does not answer: {error}") from error
    except exceptions.RedisError as error:
        raise translate(error) from error
    except RuntimeError as error:
        if _CLOSED not in str(error):
            raise
        raise StoreUnavailable(f"Redis closed the connection: {error}") from error


def translate(error: Exception) -> StoreError:
    """The exception of ours that says what an error reply means."""
    text = str(error)
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM" in text:
        return StoreFull("Redis is out of memory")
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError) or any(
        word in text or word in type(error).__name__.upper() for word in _PASSING
    ):
        return StoreUnavailable(f"Redis cannot serve this now: {text}")
    if "WRONGTYPE" in text:
        return StoreCorrupt(f"a key holds something foreign: {text}")
    return StoreError(f"Redis refused a command: {text}")


def _development_store(settings: Settings) -> AbstractContextManager[str]:
    if settings.redis_url:
        return nullcontext("")
    if settings.production:
        raise SettingsError(
            "REDIS_URL is not set. In production, set it to your server's address, "
            "for example redis://user:password@host:6379/0"
        )
    return devstore.run(settings.store_directory)


def _with_url(settings: Settings, url: str) -> Settings:
    logger.info("REDIS_URL is not set: using a development store, %s", url)
    return msgspec.structs.replace(settings, redis_url=url)


async def _check(settings: Settings) -> None:
    try:
        async with connect(settings) as client:
            version = str((await client.info("server"))["redis_version"])
    except (exceptions.RedisError, OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"Redis at REDIS_URL cannot be used: {error}. Start it, or correct the address, "
            "user, password or database number; without REDIS_URL a development store is used."
        ) from error
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise SettingsError(f"Redis {version} is too old: 6.2 or newer is needed")
