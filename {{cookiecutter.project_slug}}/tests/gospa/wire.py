"""A client for tests that breaks the rules: it sends whatever bytes it is told to."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest
from websockets.exceptions import InvalidStatus

from tests.gospa.raw_client import RawClient

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
HEAD = (
    "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: gospa.v1\r\n\r\n"
)


def frame(  # noqa: PLR0913 - what a header has
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """A client's frame, right or wrong; the mask is zero, which leaves the payload as it is."""
    size = len(payload) if length is None else length
    mark = 0x80 if masked else 0
    if size < 126:
        head = bytes([mark | size])
    elif size < 2**16:
        head = bytes([mark | 126]) + size.to_bytes(2)
    else:
        head = bytes([mark | 127]) + size.to_bytes(8)
    return bytes([fin << 7 | rsv << 4 | opcode]) + head + (bytes(4) if masked else b"") + payload


def message(*parts: Any) -> bytes:
    return frame(BINARY, msgpack.packb(list(parts)))


HELLO = message(6, os.urandom(16))


class Wire:
    """One connection after its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.messages: list[Any] = []

    async def receive(self) -> tuple[int, bytes]:
        """The opcode and payload of the next frame."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
        return first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """Read up to the close frame; returns its code."""
        async with asyncio.timeout(40):
            while True:
                opcode, payload = await self.receive()
                if opcode == BINARY:
                    self.messages.append(msgpack.unpackb(payload))
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2])


@asynccontextmanager
async def open_wire(address: str) -> AsyncIterator[Wire]:
    """Connect to host and port, and say nothing yet."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(HEAD.format(address).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in head, head
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


async def refusal_of(address: str, **options: Any) -> Any:
    """The answer to a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refusal:
        async with RawClient.connect(address, **options):
            pass
    return refusal.value.response
