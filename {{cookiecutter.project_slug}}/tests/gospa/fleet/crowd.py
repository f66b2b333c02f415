"""Many cheap clients, which come back when told to, and send again what was not answered."""

import asyncio
import base64
import contextlib
import os
import random
from typing import Any

import msgpack

OF_INTEREST = (3, 4, 6, 8)  # ACK, ERROR, BYE and JOINED: the state is not looked at
PAUSE = 5.0  # seconds at most between an answer and the next change


class Visitor:
    """Adds one to a room's count, and again after each answer until it may stop."""

    def __init__(self, room: str) -> None:
        self.address = ""
        self.room = room
        self.done = 0
        self.may_stop = False
        self.joined = False
        self.delays: list[int] = []  # ms after which it was asked to come back
        self.waits = True  # for the answer to a change
        self._client = os.urandom(16)

    async def run(self) -> None:
        while True:
            delay = random.uniform(0.1, 1)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                delay = await self._visit() or delay
            await asyncio.sleep(delay)

    async def _visit(self) -> float:
        """One connection, to its end; returns the seconds after which to come back."""
        host, port = self.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
        try:
            await self._greet(reader, writer)
            return await self._talk(reader, writer)
        finally:
            writer.transport.abort()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: {self.address}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: gospa.v1\r\n\r\n".encode()
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in answer:
            raise ConnectionRefusedError(answer)
        writer.write(_frame([6, self._client]) + _frame([0, self.room, None, None]))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        loop = asyncio.get_running_loop()
        while True:
            match await _receive(reader, writer):
                case [8, *_]:
                    self.joined = True
                    self._change(writer)
                case [3, mid, *_] if mid == self.done + 1:
                    self.done, self.waits = mid, False
                    loop.call_later(random.uniform(PAUSE / 2, PAUSE), self._change, writer)
                case [4, *_]:  # not now
                    loop.call_later(0.2, self._change, writer)
                case [6, _, delay]:
                    self.delays.append(delay)
                    return float(delay) / 1000
                case None:
                    return 0

    def _change(self, writer: asyncio.StreamWriter) -> None:
        """Send the change that waits for an answer, or the next one."""
        if (self.waits or not self.may_stop) and not writer.transport.is_closing():
            self.waits = True
            writer.write(_frame([2, self.done + 1, self.room, "add", {}]))


def _frame(message: list[Any]) -> bytes:
    """A masked binary frame; the mask of zeros changes nothing."""
    data: bytes = msgpack.packb(message)
    return bytes([0x82, 0x80 | len(data)]) + bytes(4) + data


async def _receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
    """The next message, None at the end of the connection; answers a ping."""
    kind, size = await reader.readexactly(2)
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2))
    elif size == 127:
        size = int.from_bytes(await reader.readexactly(8))
    data = await reader.readexactly(size)
    if kind == 0x88:
        return None
    if kind == 0x89:  # who does not answer is taken for gone
        writer.write(bytes([0x8A, 0x80 | len(data)]) + bytes(4) + data)
    return msgpack.unpackb(data, timestamp=3) if kind == 0x82 and data[1] in OF_INTEREST else []
