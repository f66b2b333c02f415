"""A TCP proxy between the application and its store that damages what passes through."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gospa import tasks
from gospa.testing import until

PUSH = (b"*3\r\n$7\r\nmessage\r\n", b"*3\r\n$8\r\nsmessage\r\n")
SUBSCRIBED = (b"*3\r\n$9\r\nsubscribe", b"*3\r\n$10\r\nssubscribe")
PATIENCE = 0.005  # seconds between looks at what is late
DELAY = 0.3  # seconds at most for a message that is held back


DRIBBLE = 512  # bytes at a time of a connection that dribbles


@dataclass
class Damage:
    """Chances from 0 to 1 for each published message, and seconds of latency for all bytes.

    `lags`: seconds by which all that the store sends to subscribers is late, by their side. With
    `dribble`, it arrives in small pieces as well.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    latency: float = 0.0
    lags: Mapping[int, float] = field(default_factory=dict)
    dribble: bool = False


SIDES = 2  # subscribers are on one of two


class Proxy:
    """Forwards from fronts to ports, which may change: new connections go to the new one."""

    def __init__(self, rng: random.Random) -> None:
        self.damage = Damage()
        self.damaged = 0
        self.ports: dict[int, int] = {}  # by the port of the front
        self.sides: dict[int, int] = {}  # of fronts that one host has for itself
        self._rng = rng
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def front(self, port: int, side: int | None = None) -> int:
        """Forward to a port from now on; returns where to connect to.

        Connections over it are on that side; or each on one of its own, by chance.
        """
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self._servers.append(server)
        address: int = server.sockets[0].getsockname()[1]
        self.ports[address] = port
        if side is not None:
            self.sides[address] = side
        return address

    async def close(self) -> None:
        for server in self._servers:
            server.close()

        def none_is_left() -> bool:
            self.cut()  # also one that was just being made
            return not self._writers

        await until(none_is_left)

    def cut(self) -> None:
        """Break all connections, in the middle of whatever they carry."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            front = to_client.get_extra_info("sockname")[1]
            port, side = self.ports[front], self.sides.get(front, self._rng.randrange(SIDES))
            server, to_server = await asyncio.open_connection("127.0.0.1", port)
            self._writers |= {to_client, to_server}
            try:
                done, pending = await asyncio.wait(
                    [
                        asyncio.create_task(self._pass(client, to_server)),
                        asyncio.create_task(
                            self._deliver(server, _Late(self.damage, side, to_client))
                        ),
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

    async def _deliver(self, source: asyncio.StreamReader, target: "_Late") -> None:
        """Pass on replies; a connection that carries published messages goes one by one."""
        data = await source.read(2**16)
        while data and not self._subscribes(data):
            await asyncio.sleep(self.damage.latency)
            target.writer.write(data)
            await target.writer.drain()
            data = await source.read(2**16)
        sending = asyncio.create_task(target.send())
        try:
            while data:
                for reply in await self._replies(source, data):
                    self._damage(reply, target)
                data = await source.read(2**16)
        finally:
            await tasks.stop(sending)

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

    def _damage(self, reply: bytes, target: "_Late") -> None:
        chances = self.damage
        if not reply.startswith(PUSH) or not _is_patch(reply):
            target.write(reply)
        elif self._rng.random() < chances.drop:
            self.damaged += 1
        elif self._rng.random() < chances.delay:
            self.damaged += 1
            delay = self._rng.uniform(0, DELAY)
            asyncio.get_running_loop().call_later(delay, target.write, reply)
        else:
            target.write(reply)
            if self._rng.random() < chances.duplicate:
                self.damaged += 1
                target.write(reply)


class _Late:
    """What is on its way to a subscriber: in order, and late by the lag of its side."""

    def __init__(self, damage: Damage, side: int, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._damage, self._side = damage, side
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._some = asyncio.Event()

    def write(self, reply: bytes) -> None:
        self._waiting.append((asyncio.get_running_loop().time(), reply))
        self._some.set()

    async def send(self) -> None:
        """Send what is due, until cancelled or disconnected."""
        while not self.writer.transport.is_closing():
            while self._waiting:
                written, reply = self._waiting[0]
                late = asyncio.get_running_loop().time() - written
                if late < self._damage.lags.get(self._side, 0.0):
                    await asyncio.sleep(PATIENCE)
                    continue
                self._waiting.popleft()
                await self._dribble(reply)
            self._some.clear()
            await self._some.wait()

    async def _dribble(self, reply: bytes) -> None:
        while self._damage.dribble and self._side in self._damage.lags and len(reply) > DRIBBLE:
            self.writer.write(reply[:DRIBBLE])
            reply = reply[DRIBBLE:]
            await asyncio.sleep(PATIENCE)
        self.writer.write(reply)
        await self.writer.drain()


def _ended() -> bytes:
    raise asyncio.IncompleteReadError(b"", None)


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
