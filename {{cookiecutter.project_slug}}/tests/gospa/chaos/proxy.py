"""A TCP proxy between the application and its store that damages what passes through."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gospa.testing import until

PUSH = (b"*3\r\n$7\r\nmessage\r\n", b"*3\r\n$8\r\nsmessage\r\n")
SUBSCRIBED = (b"*3\r\n$9\r\nsubscribe", b"*3\r\n$10\r\nssubscribe")
DELAY = 0.3  # seconds at most for a message that is held back


@dataclass
class Damage:
    """Chances from 0 to 1 for each published message, and seconds of latency for all bytes."""

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    latency: float = 0.0


class Proxy:
    """Forwards from fronts to ports, which may change: new connections go to the new one."""

    def __init__(self, rng: random.Random) -> None:
        self.damage = Damage()
        self.damaged = 0
        self.ports: dict[int, int] = {}  # by the port of the front
        self._rng = rng
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def front(self, port: int) -> int:
        """Forward to a port from now on; returns where to connect to."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self._servers.append(server)
        address: int = server.sockets[0].getsockname()[1]
        self.ports[address] = port
        return address

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        self.cut()
        await until(lambda: not self._writers)

    def cut(self) -> None:
        """Break all connections, in the middle of whatever they carry."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            port = self.ports[to_client.get_extra_info("sockname")[1]]
            server, to_server = await asyncio.open_connection("127.0.0.1", port)
            self._writers |= {to_client, to_server}
            try:
                done, pending = await asyncio.wait(
                    [
                        asyncio.create_task(self._pass(client, to_server)),
                        asyncio.create_task(self._deliver(server, to_client)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in pending:
                    task.cancel()
                await asyncio.gather(*done, *pending, return_exceptions=True)
            finally:
                self._writers -= {to_client, to_server}
                to_server.transport.abort()
        to_client.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(2**16):
            await asyncio.sleep(self.damage.latency)
            target.write(data)
            await target.drain()

    async def _deliver(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Pass on replies; a connection that carries published messages goes one by one."""
        data = await source.read(2**16)
        while data and not self._subscribes(data):
            await asyncio.sleep(self.damage.latency)
            target.write(data)
            await target.drain()
            data = await source.read(2**16)
        while data:
            for reply in await self._replies(source, data):
                self._damage(reply, target)
            await target.drain()
            data = await source.read(2**16)

    @staticmethod
    def _subscribes(data: bytes) -> bool:
        return data.startswith(SUBSCRIBED)

    async def _replies(self, source: asyncio.StreamReader, data: bytes) -> list[bytes]:
        """Split what was received into whole replies, reading on to the end of the last."""
        replies, at = [], 0
        while at < len(data):
            end = _reply_end(data, at)
            while end is None:
                data += await source.read(2**16) or _ended()
                end = _reply_end(data, at)
            replies.append(data[at:end])
            at = end
        return replies

    def _damage(self, reply: bytes, target: asyncio.StreamWriter) -> None:
        chances = self.damage
        if not reply.startswith(PUSH) or not _is_patch(reply):
            target.write(reply)
        elif self._rng.random() < chances.drop:
            self.damaged += 1
        elif self._rng.random() < chances.delay:
            self.damaged += 1
            asyncio.get_running_loop().call_later(
                self._rng.uniform(0, DELAY), _write_late, target, reply
            )
        else:
            target.write(reply)
            if self._rng.random() < chances.duplicate:
                self.damaged += 1
                target.write(reply)


def _ended() -> bytes:
    raise asyncio.IncompleteReadError(b"", None)


def _write_late(target: asyncio.StreamWriter, reply: bytes) -> None:
    if not target.transport.is_closing():
        target.write(reply)


def _is_patch(reply: bytes) -> bool:
    """Not the application's probe of its subscription, whose message is empty."""
    return not reply.endswith(b"$0\r\n\r\n")


def _reply_end(data: bytes, start: int) -> int | None:
    """Where the reply at `start` ends: an array of bulk strings and integers, or an error.

    None if it is not all there.
    """
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    if data[start : start + 1] == b"-":
        return line_end + 2
    count, at = int(data[start + 1 : line_end]), line_end + 2
    for _ in range(count):
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        kind, size = data[at : at + 1], int(data[at + 1 : line_end])
        at = line_end + 2
        if kind == b"$" and size >= 0:
            at += size + 2
    return at if at <= len(data) else None


@asynccontextmanager
async def run_proxy(rng: random.Random) -> AsyncIterator[Proxy]:
    """A proxy without fronts yet."""
    proxy = Proxy(rng)
    try:
        yield proxy
    finally:
        await proxy.close()
