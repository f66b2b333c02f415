"""The connection to Redis or Valkey."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sanic.log import logger

from gospa.backends.redis.address import parse_address
from gospa.backends.redis.batch import MAX_IN_FLIGHT, Command, Server
from gospa.backends.redis.errors import check, store_errors
from gospa.settings import Settings

CONNECTIONS = 8 * MAX_IN_FLIGHT  # of one client to one server; the others serve single commands


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Any]:
    """A client with its own pool. It never repeats a command by itself.

    Sentinel and cluster support is loaded only for an address that needs it.
    """
    address = parse_address(settings.redis_url)
    options = address.options | limits(settings)
    opened: Any
    if address.form == "sentinel":
        from gospa.backends.redis import sentinel  # noqa: PLC0415 - see above

        opened = sentinel.open_client(address, options)
    elif address.form == "cluster":
        from gospa.backends.redis.cluster.client import open_client  # noqa: PLC0415 - see above

        opened = open_client(address, options)
    else:
        opened = aclosing(Server.from_pool(aioredis.ConnectionPool(**options)))
    async with opened as client:
        yield client


def limits(settings: Settings) -> dict[str, Any]:
    """Options that bound how long a caller waits, and how many connections there are."""
    return {
        "socket_timeout": settings.store_timeout,
        "socket_connect_timeout": settings.store_timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "max_connections": CONNECTIONS,
    }


def text_of(key: bytes) -> str | None:
    """The name of a key from SCAN; if it is not text, None, and that is logged."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        logger.warning("the key %r is not text; it is skipped", key)
        return None


async def ask(client: Any, *commands: Command) -> list[Any]:
    """Send commands together; returns their replies. Raises StoreError if one is an error."""
    with store_errors():
        answers: list[Any] = await client.send(commands)
    for answer in answers:
        check(answer)
    return answers
