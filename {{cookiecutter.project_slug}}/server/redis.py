"""The connection to Redis or Valkey: client, start-up check, errors in our own terms."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from sanic.log import logger

from server import background, devstore
from server.cluster import FAILURES, Cluster
from server.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from server.settings import Settings, SettingsError

OLDEST = (6, 2)
OLDEST_CLUSTER = (7, 0)  # has pub/sub that stays within a shard
FOLLOW = 1.0  # seconds between questions to the sentinels for the master
CONNECTIONS = 32  # of one client to one server
_PORTS = {"sentinel": 26379, "cluster": 6379}
_SENTINELS_TOO = ("socket_", "ssl", "retry", "protocol")  # options that hold for sentinels as well
_UNAVAILABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
    exceptions.MovedError,  # a server that was left and does not know it
    OSError,
)
_CLOSED = "the handler is closed"  # says uvloop where asyncio raises a ConnectionError
# Answers of a server that is alive but cannot serve this now; redis-py has no types for some.
_PASSING = ("BUSY", "LOADING", "MASTERDOWN", "READONLY", "MISCONF", "NOREPLICAS", "CLUSTERDOWN")


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


@dataclass(frozen=True, slots=True)
class Address:
    """What REDIS_URL says (docs/redis.md). `form` is "" for one server, "sentinel" or "cluster"."""

    form: str
    nodes: list[tuple[str, int]]
    service: str
    options: dict[str, Any]


def parse_address(url: str) -> Address:
    """Read REDIS_URL, in which a form other than one server follows a plus sign. Raises ValueError.

    The query holds further options of redis-py's connections, such as `ssl_ca_certs`.
    """
    scheme, _, rest = url.partition("://")
    scheme, _, form = scheme.partition("+")
    if not form:
        return Address("", [], "", dict(parse_url(url)))
    place, slash, path = rest.partition("/")
    credentials, at, hosts = place.rpartition("@")
    *others, last = hosts.split(",")
    service = ""
    if form == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ValueError("the name of the master is missing: redis+sentinel://host:26379/name")
    options: dict[str, Any] = dict(parse_url(f"{scheme}://{credentials}{at}{last}{slash}{path}"))
    options["ssl"] = options.pop("connection_class", None) is SSLConnection
    own = parse_url(f"redis://{last}")
    nodes = [parse_url(f"redis://{other}") for other in others] + [own]
    del options["host"]
    options.pop("port", None)
    return Address(
        form, [(n["host"], n.get("port", _PORTS[form])) for n in nodes], service, options
    )


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Any]:
    """A client with a pool of its own. Commands are not repeated behind the caller's back."""
    address = parse_address(settings.redis_url)
    options = address.options | _limits(settings)
    async with AsyncExitStack() as stack:
        match address.form:
            case "sentinel":
                client = await _master(address, options, stack)
            case "cluster":
                client = _cluster(address, options)
            case _:
                client = aioredis.Redis.from_pool(
                    aioredis.BlockingConnectionPool(timeout=settings.store_timeout, **options)
                )
        stack.push_async_callback(client.aclose)
        yield client


@asynccontextmanager
async def connect_node(settings: Settings, node: ClusterNode) -> AsyncIterator[Any]:
    """A client of one server of a cluster."""
    options = parse_address(settings.redis_url).options | _limits(settings)
    async with aioredis.Redis(host=node.host, port=int(node.port), **options) as client:
        yield client


def is_cluster(settings: Settings) -> bool:
    """Whether keys are spread over several servers, and messages stay with their room's keys."""
    return parse_address(settings.redis_url).form == "cluster"


def _limits(settings: Settings) -> dict[str, Any]:
    """Waiting for an answer ends after `store_timeout`."""
    return {
        "socket_timeout": settings.store_timeout,
        "socket_connect_timeout": settings.store_timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "max_connections": CONNECTIONS,
    }


class _MasterPool(SentinelConnectionPool, aioredis.BlockingConnectionPool):
    """Waits for a free connection, as the pool of one server does."""


async def _master(address: Address, options: dict[str, Any], stack: AsyncExitStack) -> Any:
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    shared = {name: value for name, value in options.items() if name.startswith(_SENTINELS_TOO)}
    sentinel = Sentinel(address.nodes, sentinel_kwargs=shared | own)  # type: ignore[no-untyped-call]
    stack.push_async_callback(sentinel.aclose)
    timeout = options["socket_timeout"]
    client = sentinel.master_for(
        address.service, connection_pool_class=_MasterPool, timeout=timeout, **options
    )
    following = background.keep_running(partial(_follow, client.connection_pool), "Redis master")
    stack.push_async_callback(background.stop, following)
    return client


async def _follow(pool: _MasterPool) -> None:
    """Leave a master that was replaced. It may go on for seconds as if nothing were the matter."""
    await asyncio.sleep(FOLLOW)
    with suppress(*FAILURES):
        await pool.get_master_address()  # type: ignore[no-untyped-call]


def _cluster(address: Address, options: dict[str, Any]) -> Any:
    nodes = [ClusterNode(host, port) for host, port in address.nodes]
    options["max_connections"] = 8 * CONNECTIONS  # nobody waits for one here: more are an error
    return Cluster(startup_nodes=nodes, require_full_coverage=False, **options)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn redis-py's exceptions into ours."""
    try:
        yield
    except FAILURES as error:
        raise translate(error) from error
    except RuntimeError as error:
        if _CLOSED not in str(error):
            raise
        raise StoreUnavailable(f"Redis closed the connection: {error}") from error


def translate(error: Exception) -> StoreError:
    """The exception of ours that says what one of FAILURES means."""
    text = str(error)
    if isinstance(error, _UNAVAILABLE) or any(
        word in text or word in type(error).__name__.upper() for word in _PASSING
    ):
        return StoreUnavailable(f"Redis cannot serve this now: {text}")
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM" in text:
        return StoreFull("Redis is out of memory")
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
        cluster = is_cluster(settings)
        async with connect(settings) as client:
            info = await client.info("server")
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
