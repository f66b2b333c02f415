"""Connections over which a test sends requests as it likes, and reads the answers."""

import asyncio
from typing import Protocol

from gospa.testing import Site


class Wire:
    """One of them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def ask(self, path: str, *headers: str, method: str = "POST", body: bytes = b"") -> None:
        """Send a request, with just these headers."""
        self.writer.write(head(path, *headers, method=method) + body)

    async def status(self, *, to_head: bool = False) -> int:
        """The status of the next answer, which is read to its end; one to HEAD has no body."""
        async with asyncio.timeout(40):
            received = await self.reader.readuntil(b"\r\n\r\n")
            for line in () if to_head else received.lower().splitlines():
                if line.startswith(b"content-length:"):
                    await self.reader.readexactly(int(line.split(b":")[1]))
        return int(received.split()[1])

    async def ended(self) -> bool:
        """Wait until the server closes the connection; whether it said nothing more."""
        try:
            async with asyncio.timeout(40):
                return not await self.reader.read()
        except ConnectionError:
            return True


class OpenWire(Protocol):
    """Type of the fixture `open_wire`: connects from an address of this machine."""

    async def __call__(self, site: Site, source: str = "127.0.0.1") -> Wire: ...


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode()
