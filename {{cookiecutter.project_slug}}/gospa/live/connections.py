"""The open connections of this worker: their heartbeats, and their end when the worker stops."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gospa import tasks
from gospa.live import wire
from gospa.live.connection import Connection
from gospa.live.hub import Hub
from gospa.stats import STATS

TICK = 1.0  # seconds between heartbeat checks of a connection
RECONNECT_SPREAD = 2000  # milliseconds over which clients of a stopping worker reconnect
CLOSE_TIMEOUT = 3.0  # seconds for closing handshakes


@asynccontextmanager
async def open_connections(hub: Hub) -> AsyncIterator["Connections"]:
    """A set for the connections of a hub. At the end the hub is drained, and they are closed."""
    connections = Connections()
    async with tasks.running(connections.watch, "heartbeats"):
        try:
            yield connections
        finally:
            await connections.stop_commands()
            await hub.drain()
            await connections.close()


class Connections(set[Connection]):
    """The open connections."""

    async def watch(self) -> None:
        """Check heartbeats until cancelled."""
        while True:
            async for some in tasks.spread(self, TICK):
                now = asyncio.get_running_loop().time()
                for connection in some:
                    if connection.check_at <= now and connection in self:
                        connection.check_heartbeat()
            STATS.connections = len(self)

    async def stop_commands(self) -> None:
        """Cancel all commands; their clients are told to send them again."""
        await asyncio.gather(*(connection.requests.stop_commands() for connection in self))

    async def close(self) -> None:
        """Send BYE to all clients, and wait until they are gone."""
        for connection in list(self):
            delay = random.randrange(RECONNECT_SPREAD)  # noqa: S311 - spread, not a secret
            connection.send(wire.bye(wire.RESTART, delay))
            connection.close(wire.RESTART)
        if waiting := [connection.closed for connection in self]:
            await asyncio.wait(waiting, timeout=CLOSE_TIMEOUT)
        for connection in list(self):
            connection.abort()
        STATS.connections = len(self)
