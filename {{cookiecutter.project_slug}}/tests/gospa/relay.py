"""A TCP relay in front of an application, which a test can cut, mute and close."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gospa.testing import until


@dataclass
class Relay:
    """Forwards connections to `port`. It may be changed at any time."""

    port: int
    address: str = ""
    closed: bool = False  # new connections are cut at once
    muted: bool = False  # what the server sends is lost
    accepted: int = 0
    lost: int = 0  # bytes that were lost
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def ended(self) -> None:
        """Return once there is no connection."""
        await until(lambda: not self._writers)

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        self.accepted += 1
        if self.closed:
            to_client.transport.abort()
            return
        server, to_server = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers |= {to_client, to_server}
        await asyncio.gather(
            self._forward(client, to_server), self._forward(server, to_client, back=True)
        )
        self._writers -= {to_client, to_server}

    async def _forward(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, back: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(2**16):
                if back and self.muted:
                    self.lost += len(data)
                else:
                    target.write(data)
        target.transport.abort() if self.muted else target.close()


@asynccontextmanager
async def relay(address: str) -> AsyncIterator[Relay]:
    """A relay to this host and port."""
    relay = Relay(int(address.rpartition(":")[2]))
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
        await relay.ended()
