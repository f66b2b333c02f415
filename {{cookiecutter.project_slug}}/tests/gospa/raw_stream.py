"""An event stream for tests of the protocol, used as a WebSocket is."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import httpx
from sanic import Sanic
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from gospa import event_streams

PATIENCE = 40  # seconds
REPEAT = 2.0  # seconds without an acknowledgement, after which a batch is sent again


class STREAMS:
    """An extra for applications of tests, which may have another one that serves streams."""

    @staticmethod
    def install(app: Sanic) -> None:
        if event_streams.name not in app.blueprints:
            app.blueprint(event_streams)


class RawStream:
    """One stream. `number` is that of the last batch."""

    def __init__(self, http: httpx.AsyncClient, response: httpx.Response) -> None:
        self.response = response
        self.close_code: int | None = None
        self.close_reason = ""
        self.id = ""
        self.number = self.taken = 0
        self.silent = False  # whether it answers no ping
        self.reading: asyncio.Task[None] | None = None
        self._http = http
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._news = asyncio.Condition()
        self._sending = asyncio.Lock()
        self._pongs = set[asyncio.Task[None]]()

    async def send(self, *messages: bytes) -> None:
        """Send messages in one batch, after those before it were taken."""
        async with self._sending, asyncio.timeout(PATIENCE):
            self.number += 1
            while self.taken < self.number and not self.ended:
                with suppress(httpx.TransportError):
                    await self.post(self.number, *messages)
                with suppress(TimeoutError):
                    await self._until(lambda: self.taken >= self.number, within=REPEAT)

    async def post(self, number: int, *messages: bytes) -> int:
        """Send a batch, and wait for nothing; returns the status of the answer."""
        lines = [f"{self.id} {number}".encode(), *map(b64encode, messages)]
        return (await self._http.post("/ws/send", content=b"\n".join(lines))).status_code

    def use(self, http: httpx.AsyncClient) -> None:
        """Send what follows over another connection, maybe to another worker."""
        self._http = http

    @property
    def transport(self) -> "RawStream":
        """What can be aborted."""
        return self

    def abort(self) -> None:
        """Vanish without a word."""
        if self.reading is not None:
            self.reading.cancel()

    async def recv(self, *, decode: bool = False) -> bytes:
        """The next message, which is binary. Raises ConnectionClosed at the end."""
        assert not decode
        message = await self._messages.get()
        if message is None:
            self._messages.put_nowait(None)
            raise ConnectionClosedError(Close(self.close_code or 1006, self.close_reason), None)
        return message

    @property
    def ended(self) -> bool:
        return self.close_code is not None

    async def wait_closed(self) -> None:
        await self._until(lambda: self.ended)

    async def opened(self) -> None:
        """Wait for its id."""
        await self._until(lambda: bool(self.id))

    async def _until(self, met: Callable[[], bool], within: float = PATIENCE) -> None:
        """Wait until a condition is met, or the end."""
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: met() or self.ended)

    async def read(self) -> None:
        """Read the stream to its end, as https://html.spec.whatwg.org/#event-stream says."""
        kind, data = "message", list[str]()
        try:
            async for line in self.response.aiter_lines():
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "event":
                    kind = value
                elif name == "data":
                    data.append(value)
                elif name == "id":
                    await self._tell(taken=int(value))
                elif not line:
                    await self._dispatch(kind, data)
                    kind, data = "message", []
        except httpx.TransportError:
            pass  # it broke
        finally:
            self._messages.put_nowait(None)
            await self._tell(code=1006)

    async def _dispatch(self, kind: str, data: list[str]) -> None:
        if kind == "open":
            self.id = data[0]
            await self._tell()
        elif kind == "close":
            code, _, self.close_reason = data[-1].partition(" ")
            await self._tell(code=int(code))
        elif kind == "ping" and not self.silent:
            self._pongs.add(asyncio.create_task(self.send()))
        elif kind == "message":
            self._messages.put_nowait(b"".join(map(b64decode, data)))

    async def _tell(self, *, taken: int = 0, code: int = 0) -> None:
        async with self._news:
            self.taken = max(self.taken, taken)
            if code and self.close_code is None:
                self.close_code = code
            self._news.notify_all()


@asynccontextmanager
async def open_stream(
    address: str, headers: Mapping[str, str], offered: str = "gospa.v1"
) -> AsyncIterator[RawStream]:
    """Open a stream of the application at a host and port."""
    http = httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE)
    async with http, stream_of(http, headers, offered) as stream:
        yield stream


@asynccontextmanager
async def stream_of(
    http: httpx.AsyncClient, headers: Mapping[str, str], offered: str = "gospa.v1"
) -> AsyncIterator[RawStream]:
    """Open a stream with an HTTP client."""
    async with http.stream(
        "POST", "/ws/stream", headers={**headers}, content=offered, timeout=None
    ) as response:
        if response.status_code != 200:
            await response.aread()
            response.raise_for_status()
        stream = RawStream(http, response)
        stream.reading = asyncio.create_task(stream.read())
        try:
            await stream.opened()
            yield stream
        finally:
            stream.reading.cancel()
            await asyncio.wait([stream.reading])
