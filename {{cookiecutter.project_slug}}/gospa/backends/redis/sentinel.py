"""A client of the current master, which Redis Sentinel names, across failovers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any

from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from gospa import tasks
from gospa.backends.redis.address import Address
from gospa.backends.redis.batch import Server
from gospa.backends.redis.errors import FAILURES

POLL = 1.0  # seconds between queries to the sentinels
_SENTINELS_TOO = ("socket_", "ssl", "retry", "protocol")  # options that apply to sentinels as well


@asynccontextmanager
async def open_client(address: Address, options: dict[str, Any]) -> AsyncIterator[Server]:
    """A client of the current master."""
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    shared = {name: value for name, value in options.items() if name.startswith(_SENTINELS_TOO)}
    sentinel: Any = Sentinel(address.nodes, sentinel_kwargs=shared | own)  # type: ignore[no-untyped-call]
    client: Any = sentinel.master_for(address.service, Server, SentinelConnectionPool, **options)
    follow = partial(_follow, client.connection_pool)
    async with (
        aclosing(sentinel),
        aclosing(client),
        tasks.running(follow, "Redis master"),
    ):
        yield client


async def _follow(pool: Any) -> None:
    """Disconnect from a replaced master, which may go on serving for seconds."""
    known = None
    while True:
        await asyncio.sleep(POLL)
        with suppress(*FAILURES):
            address = await pool.get_master_address()  # closes connections that are not in use
            if known not in (None, address):
                await pool.update_active_connections_for_reconnect()
            known = address
