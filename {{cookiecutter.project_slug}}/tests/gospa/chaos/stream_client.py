"""A client without WebSockets: it is told by an event stream, and sends to any worker."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from tests.gospa.chaos.client import BROKEN, ChaosClient
from tests.gospa.raw_stream import RawStream, open_stream

AGAIN = 1.0  # seconds after which a batch that was not taken is sent again


class _Patient:
    """A stream that is used like a connection of the package websockets."""

    def __init__(self, stream: RawStream) -> None:
        self.response, self.recv = stream.response, stream.recv
        self.transport = stream  # of which a client uses `abort`
        self._stream = stream

    async def send(self, message: bytes) -> None:
        await self._stream.send(message, again=AGAIN)


class StreamClient(ChaosClient):
    """A user behind a proxy that lets no WebSocket pass."""

    broken = (*BROKEN, httpx.HTTPError)

    @contextlib.asynccontextmanager
    async def _opened(self, address: str) -> AsyncIterator[Any]:
        headers = {"Connection": "close"}  # so that any worker may take a batch
        async with (
            open_stream(address, self._cookie) as stream,
            httpx.AsyncClient(base_url=f"http://{address}", headers=headers) as http,
        ):
            stream.use(http)
            yield _Patient(stream)
