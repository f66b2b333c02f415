"""A TCP relay in front of an application, which a test can cut, mute and close."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gospa.client import Client
from gospa.testing import until


@dataclass
class Relay:
    """Forwards connections to `port`. It may be changed at any time."""

    port: int
    address: str = ""
    closed: bool = False  # new connections are cut at once
    accepted: int = 0
    lost: int = 0  # bytes that were lost
    _connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = field(default_factory=dict)
    _muted: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> Awaitable[object]:
        """Break all connections. Await the result to wait until these have ended.

        Clients may have connected again by then.
        """
        tasks = list(self._connections.values())
        for task in tasks:
            task.cancel()
        return asyncio.gather(*tasks, return_exceptions=True)

    def mute(self) -> None:
        """Lose what the server sends over the connections that there are, not over later ones."""
        self._muted.update(self._connections)

    @asynccontextmanager
    async def disconnected(self, client: Client) -> AsyncIterator[None]:
        """Keep the client, which is online, without a connection."""
        self.closed = True
        await self.cut()
        await until(lambda: client.status != "online")  # nor is it again before the end
        yield
        self.closed = False

    async def reconnect(self, client: Client) -> None:
        """Break the connection of the only client; returns once it has another."""
        accepted = self.accepted
        await self.cut()
        # A client connects again only once it has noticed that it is not online any more.
        await until(lambda: self.accepted > accepted and client.status == "online")

    def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Forward a connection."""
        self.accepted += 1
        if self.closed:
            to_client.transport.abort()
            return
        task = asyncio.create_task(self._forward(client, to_client))
        self._connections[to_client] = task
        task.add_done_callback(lambda task: self._end(to_client, task))

    def _end(self, to_client: asyncio.StreamWriter, task: asyncio.Task[None]) -> None:
        del self._connections[to_client]
        self._muted.discard(to_client)
        if task.cancelled():
            to_client.transport.abort()

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            to_client.close()
            return
        try:
            await asyncio.gather(self._copy(client, to_server), self._copy(server, to_client))
        except asyncio.CancelledError:
            to_server.transport.abort()
            raise

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(2**16):
                if target in self._muted:
                    self.lost += len(data)
                else:
                    target.write(data)
        target.close()


@asynccontextmanager
async def relay(address: str) -> AsyncIterator[Relay]:
    """A relay to this host and port."""
    relay = Relay(int(address.rpartition(":")[2]))
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        relay.closed = True
        server.close()
        await relay.cut()
