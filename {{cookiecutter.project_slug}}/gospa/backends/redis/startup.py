"""Runs in the main process before workers start: finds or starts a server, or fails."""

import asyncio
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import msgspec
from redis import exceptions
from sanic.log import logger

from gospa import dotenv
from gospa.backends.redis import devstore
from gospa.backends.redis.client import connect
from gospa.backends.redis.errors import FAILURES, LOST
from gospa.settings import Settings, SettingsError

OLDEST = (6, 2)
OLDEST_CLUSTER = (7, 0)  # the first with sharded pub/sub
PATIENCE = 10.0  # seconds to wait for a server that is starting
PAUSE = 0.25  # seconds
PASSING = (*LOST, exceptions.ClusterDownError)
REFUSALS = (exceptions.AuthenticationError, exceptions.AuthorizationError, ssl.SSLError)


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
    if not settings.redis_url and dotenv.names("REDIS_URL"):
        raise SettingsError(
            "REDIS_URL is in .env, but did not reach the application, which reads the environment "
            "alone: use `make run`, or .venv/bin/python -I gospa/dotenv.py COMMAND"
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
        finally:  # stops the development store
            _restore(before)


def _restore(address: str | None) -> None:
    if address is None:
        os.environ.pop("REDIS_URL", None)
    else:
        os.environ["REDIS_URL"] = address


async def _check(settings: Settings) -> None:
    try:
        info, cluster = await _ask_patiently(settings)
    except SettingsError:
        raise
    except (*FAILURES, ValueError, TypeError) as error:
        raise SettingsError(
            f"Redis at REDIS_URL cannot be used: {str(error).rstrip('.')}. Start it, or correct "
            "the address, user, password, certificates or database number."
        ) from error
    if not cluster and "cluster" in (info.get("redis_mode"), info.get("server_mode")):
        raise SettingsError("REDIS_URL leads to a cluster: it has to start with redis+cluster://")
    version, oldest = str(info["redis_version"]), OLDEST_CLUSTER if cluster else OLDEST
    if tuple(map(int, version.split(".")[:2])) < oldest:
        needed = ".".join(map(str, oldest))
        raise SettingsError(f"Redis {version} is too old: {needed} or newer is needed")


async def _ask_patiently(settings: Settings) -> tuple[dict[str, Any], bool]:
    """Retry for a while if the server, or this host, may just be starting."""
    now, waits = asyncio.get_running_loop().time, False
    deadline = now() + PATIENCE
    while True:
        try:
            return await _ask(settings)
        except FAILURES as error:
            if not _may_pass(error) or now() >= deadline:
                raise
            if not waits:
                text = "waiting up to %.0f s for Redis at REDIS_URL: %s"
                logger.warning(text, PATIENCE, str(error).rstrip("."))
            waits = True
        await asyncio.sleep(PAUSE)


async def _ask(settings: Settings) -> tuple[dict[str, Any], bool]:
    """The server's INFO, and whether it has the cluster mode."""
    async with connect(settings) as client:
        info = await client.info()
        if info.get("loading"):  # until then it answers only INFO
            raise exceptions.BusyLoadingError("it is loading its data")
        await _claim(client, settings)
        return info, client.SHARDED


def _may_pass(error: BaseException) -> bool:
    """Whether waiting may help: the server is loading, not running yet, or slow to answer."""
    causes: list[BaseException] = []  # a cluster client wraps them
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(each, REFUSALS) for each in causes) or "AuthenticationError" in str(error):
        return False  # the text comes from the sentinel client
    return any(isinstance(each, PASSING) for each in causes)


async def _claim(client: Any, settings: Settings) -> None:
    """Record the application of the prefix. Raises SettingsError if it is another one."""
    key, name = f"{settings.key_prefix}application", settings.application
    if not name:
        return
    owner = name.encode()
    with suppress(*FAILURES):  # missing permissions are reported by the later checks
        await client.set(key, owner, nx=True)
        owner = await client.get(key) or owner
    if owner != name.encode():
        raise SettingsError(
            f"the keys that begin with {settings.key_prefix!r} are those of another application, "
            f"{owner.decode(errors='replace')!r}: set GOSPA_KEY_PREFIX. If this one was renamed, "
            f"delete the key {key}"
        )
