"""The connection to Redis or Valkey: client, start-up check, errors in our own terms."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    aclosing,
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

from gospa import tasks
from gospa.backends.redis import devstore
from gospa.backends.redis.batch import LANES, Command, Packed, Pipe, exchange
from gospa.backends.redis.cluster.client import FAILURES, LOST, Cluster
from gospa.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from gospa.settings import Settings, SettingsError

OLDEST = (6, 2)
OLDEST_CLUSTER = (7, 0)  # has pub/sub that stays within a shard
FOLLOW = 1.0  # seconds between questions to the sentinels for the master
CONNECTIONS = 8 * LANES  # of one client to one server; all but the lanes are for single commands
_PORTS = {"sentinel": 26379, "cluster": 6379}
_SENTINELS_TOO = ("socket_", "ssl", "retry", "protocol")  # options that hold for sentinels as well
_UNAVAILABLE = (
    *LOST,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
    exceptions.ReadOnlyError,
    exceptions.AskError,  # also where a slot has moved: a server that was left and does not know it
    exceptions.TryAgainError,
)
# Answers of a server that is alive but cannot serve this now; those to a script are of no type.
_PASSING = (
    *("BUSY", "LOADING", "MASTERDOWN", "READONLY", "MISCONF", "NOREPLICAS", "CLUSTERDOWN"),
    "the handler is closed",  # says uvloop where asyncio raises a ConnectionError
)


@contextmanager
def prepare(settings: Settings) -> Iterator[Settings]:
    """For the main process: a reachable server, started here if development needs one.

    Raises SettingsError with the remedy if there is none. Workers inherit the address by the
    environment.
    """
    if not settings.redis_url and settings.production:
        raise SettingsError(
            "REDIS_URL is not set. In production, set it to your server's address, "
            "for example redis://user:password@host:6379/0"
        )
    given = nullcontext(settings.redis_url)
    with given if settings.redis_url else devstore.run(settings.store_directory) as url:
        if not settings.redis_url:
            logger.info("REDIS_URL is not set: using a development store, %s", url)
        settings = msgspec.structs.replace(settings, redis_url=url)
        asyncio.run(_check(settings))
        os.environ["REDIS_URL"] = url
        yield settings


async def _check(settings: Settings) -> None:
    try:
        async with connect(settings) as client:
            info = await client.info("server")
    except (*FAILURES, ValueError, TypeError) as error:
        raise SettingsError(
            f"Redis at REDIS_URL cannot be used: {str(error).rstrip('.')}. Start it, or correct "
            "the address, user, password, certificates or database number."
        ) from error
    cluster = isinstance(client, Cluster)
    if not cluster and "cluster" in (info.get("redis_mode"), info.get("server_mode")):
        raise SettingsError("REDIS_URL leads to a cluster: it has to start with redis+cluster://")
    version, oldest = str(info["redis_version"]), OLDEST_CLUSTER if cluster else OLDEST
    if tuple(map(int, version.split(".")[:2])) < oldest:
        needed = ".".join(map(str, oldest))
        raise SettingsError(f"Redis {version} is too old: {needed} or newer is needed")


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
    rest, _, query = rest.partition("?")
    place, _, path = rest.partition("/")
    credentials, at, hosts = place.rpartition("@")
    service = ""
    if form == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ValueError("the name of the master is missing: redis+sentinel://host:26379/name")
    options: dict[str, Any] = dict(parse_url(f"{scheme}://{credentials}{at}/{path}?{query}"))
    options["ssl"] = options.pop("connection_class", None) is SSLConnection
    read = [parse_url(f"redis://{host}") for host in hosts.split(",")]
    nodes = [(node.get("host", "localhost"), node.get("port", _PORTS[form])) for node in read]
    return Address(form, nodes, service, options)


class Server(aioredis.Redis):
    """A client of one server at a time, which offers what `Cluster` does."""

    PUBLISH = "PUBLISH"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pipe = Pipe(self._exchange)

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands that are sent together, exceptions among them."""
        return await self._pipe.send(commands)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001
        await self._pipe.aclose()
        await super().aclose(close_connection_pool)

    async def _exchange(self, commands: list[Packed]) -> list[Any]:
        """As redis-py's pipeline does, which packs in Python."""
        connection = await self.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            return await exchange(self, connection, commands)
        finally:
            await self.connection_pool.release(connection)


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Any]:
    """A client with a pool of its own. Commands are not repeated behind the caller's back."""
    address = parse_address(settings.redis_url)
    options = address.options | _limits(settings)
    opened: Any
    match address.form:
        case "sentinel":
            opened = _master(address, options)
        case "cluster":
            nodes = [ClusterNode(host, port) for host, port in address.nodes]
            opened = aclosing(Cluster(startup_nodes=nodes, require_full_coverage=False, **options))
        case _:
            pool = aioredis.ConnectionPool(**options)
            opened = aclosing(Server.from_pool(pool))
    async with opened as client:
        yield client


@asynccontextmanager
async def connect_node(settings: Settings, node: ClusterNode) -> AsyncIterator[Any]:
    """A client of one server of a cluster."""
    options = parse_address(settings.redis_url).options | _limits(settings)
    async with Server(host=node.host, port=int(node.port), **options) as client:
        yield client


def _limits(settings: Settings) -> dict[str, Any]:
    """Waiting for an answer ends after `store_timeout`."""
    return {
        "socket_timeout": settings.store_timeout,
        "socket_connect_timeout": settings.store_timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "max_connections": CONNECTIONS,
    }


@asynccontextmanager
async def _master(address: Address, options: dict[str, Any]) -> AsyncIterator[Any]:
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    shared = {name: value for name, value in options.items() if name.startswith(_SENTINELS_TOO)}
    sentinel: Any = Sentinel(address.nodes, sentinel_kwargs=shared | own)  # type: ignore[no-untyped-call]
    client = sentinel.master_for(address.service, Server, SentinelConnectionPool, **options)
    follow = partial(_follow, client.connection_pool)
    async with (
        aclosing(sentinel),
        aclosing(client),
        tasks.running(follow, "Redis master"),
    ):
        yield client


async def _follow(pool: Any) -> None:
    """Leave a master that was replaced. It may go on for seconds as if nothing were the matter."""
    await asyncio.sleep(FOLLOW)
    with suppress(*FAILURES):
        await pool.get_master_address()


async def ask(client: Any, *commands: Command) -> list[Any]:
    """The answers to commands that are sent together. Raises StoreError if one is an error."""
    with store_errors():
        answers: list[Any] = await client.send(commands)
    for answer in answers:
        check(answer)
    return answers


def check(answer: Any) -> None:
    """Raise StoreError for an answer that is an exception, which stays as it is: others have it."""
    if isinstance(answer, Exception):
        raise translate(answer)


class store_errors(AbstractContextManager[None]):  # noqa: N801 - like contextlib's own
    """Turns redis-py's exceptions into ours."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (*FAILURES, RuntimeError)) and (ours := translate(error)) is not error:
            raise ours from error


def translate(error: Exception) -> Exception:
    """What an exception means in our own terms; the same if it is none of the store's."""
    text = str(error)
    if isinstance(error, _UNAVAILABLE) or any(words in text for words in _PASSING):
        return StoreUnavailable(f"Redis cannot serve this now: {text}")
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM" in text:
        return StoreFull("Redis is out of memory")
    if "WRONGTYPE" in text:
        return StoreCorrupt(f"a key holds something foreign: {text}")
    return StoreError(f"Redis refused a command: {text}") if isinstance(error, FAILURES) else error
