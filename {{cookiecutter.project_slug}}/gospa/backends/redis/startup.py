"""What the main process does before workers start: a reachable server, or an error."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import msgspec
from sanic.log import logger

from gospa.backends.redis import devstore
from gospa.backends.redis.client import connect
from gospa.backends.redis.errors import FAILURES
from gospa.settings import Settings, SettingsError

OLDEST = (6, 2)
OLDEST_CLUSTER = (7, 0)  # has pub/sub that stays within a shard


@contextmanager
def prepare(settings: Settings) -> Iterator[Settings]:
    """Yield settings with a reachable server, started here if development needs one.

    Workers inherit the address from the environment. Raises SettingsError with the remedy.
    """
    if not settings.redis_url and settings.production:
        raise SettingsError(
            "REDIS_URL is not set. In production, set it to your server's address, "
            "for example redis://user:password@host:6379/0"
        )
    given, before = nullcontext(settings.redis_url), os.environ.get("REDIS_URL")
    with given if settings.redis_url else devstore.run(settings.store_directory) as url:
        if not settings.redis_url:
            logger.info("REDIS_URL is not set: using a development store, %s", url)
        settings = msgspec.structs.replace(settings, redis_url=url)
        asyncio.run(_check(settings))
        os.environ["REDIS_URL"] = url
        try:
            yield settings
        finally:  # the development store ends
            _restore(before)


def _restore(address: str | None) -> None:
    if address is None:
        os.environ.pop("REDIS_URL", None)
    else:
        os.environ["REDIS_URL"] = address


async def _check(settings: Settings) -> None:
    try:
        async with connect(settings) as client:
            info = await client.info("server")
    except (*FAILURES, ValueError, TypeError) as error:
        raise SettingsError(
            f"Redis at REDIS_URL cannot be used: {str(error).rstrip('.')}. Start it, or correct "
            "the address, user, password, certificates or database number."
        ) from error
    cluster = client.SHARDED
    if not cluster and "cluster" in (info.get("redis_mode"), info.get("server_mode")):
        raise SettingsError("REDIS_URL leads to a cluster: it has to start with redis+cluster://")
    version, oldest = str(info["redis_version"]), OLDEST_CLUSTER if cluster else OLDEST
    if tuple(map(int, version.split(".")[:2])) < oldest:
        needed = ".".join(map(str, oldest))
        raise SettingsError(f"Redis {version} is too old: {needed} or newer is needed")
