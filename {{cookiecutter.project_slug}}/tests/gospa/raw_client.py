"""A client for tests of the protocol: it sends any message, and never reconnects."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal, Protocol

import msgpack
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.typing import Subprotocol

from gospa.client import Refused
from gospa.testing import Site
from tests.gospa.raw_stream import open_stream

Message = list[Any]

Transport = Literal["socket", "stream"]
PATIENCE = 40  # seconds that a client waits for a connection, or for a message


class RawClient:
    """One connection. `states` holds the state of each joined room, defaults included."""

    welcome: Message

    def __init__(self, websocket: Any, client: bytes) -> None:
        """`websocket`: a connection of the package websockets, or a `RawStream`."""
        self.websocket = websocket
        self.client = client
        self.number = 0
        self.states: dict[str, dict[str, Any]] = {}
        self._stored: dict[str, dict[str, Any]] = {}
        self._defaults: dict[str, dict[str, Any]] = {}
        self.heads: dict[str, tuple[int, bytes]] = {}
        self.access: dict[str, str] = {}  # "read" or "full", of each joined room
        self.events: list[Message] = []

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        address: str,
        *,
        cookie: str = "",
        client: bytes = b"",
        hello: bool = True,
        transport: Transport = "socket",
        **headers: str,
    ) -> AsyncIterator["RawClient"]:
        """Connect to a host and port, and send HELLO."""
        fields = {**headers, **({"Cookie": cookie} if cookie else {})}
        opened = _open_socket if transport == "socket" else open_stream
        async with opened(address, fields) as websocket:
            member = cls(websocket, client or os.urandom(16))
            if hello:
                await member.send(6, member.client)
                member.welcome = await member.receive()
                assert member.welcome[0] == 5
            yield member

    @property
    def pid(self) -> int:
        """The process id of the worker that serves this connection."""
        return int(self.welcome[3]["pid"])

    @property
    def cookie(self) -> str:
        """The session cookie that the handshake set."""
        response = self.websocket.response
        assert response is not None
        return str(response.headers["Set-Cookie"].partition(";")[0])

    async def send(self, *message: Any) -> None:
        """Send a message as it is (docs/protocol.md)."""
        await self.websocket.send(msgpack.packb(list(message), datetime=True))

    async def receive(self) -> Message:
        """Receive the next message, and apply it to `states` or `events`."""
        raw = await self.websocket.recv()
        assert isinstance(raw, bytes)
        message: Message = msgpack.unpackb(raw, timestamp=3)
        self._apply(message)
        return message

    async def until(self, meets: Callable[[Message], bool]) -> Message:
        """Receive up to the first message that meets a condition."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self.receive()
                if meets(message):
                    return message

    async def join(
        self, room: str, version: int | None = None, tag: bytes | None = None, claims: Any = None
    ) -> dict[str, Any]:
        """Join a room and return its state; raises Refused."""
        await self.send(0, room, version, tag, claims)
        answer = await self.until(
            lambda m: (m[0] == 8 and m[1] == room) or (m[0] == 4 and m[4] == room)
        )
        if answer[0] == 4:
            raise Refused(*answer[2:5])
        return self.states[room]

    async def call(self, room: str, action: str, **args: Any) -> Any:
        """Call an action and return its result; raises Refused."""
        self.number += 1
        await self.send(2, self.number, room, action, args)
        return (await self.answer(self.number))[3]

    async def run(self, room: str, command: str, *, id: bytes = b"", **args: Any) -> Any:
        """Run a command and return its result; raises Refused."""
        id = id or os.urandom(16)
        await self.send(7, id, room, command, args)
        message = await self.until(lambda m: m[0] in (4, 9) and m[1] == id)
        if message[0] == 4:
            raise Refused(message[2], message[3], room)
        return message[2]

    async def write(self, room: str, delete: list[str] | None = None, **values: Any) -> int:
        """Set and delete keys; returns the room's version. Raises Refused."""
        self.number += 1
        await self.send(3, self.number, room, values, delete or [])
        version: int = (await self.answer(self.number))[2]
        return version

    async def answer(self, number: int) -> Message:
        """Receive the answer to a mutation; raises Refused."""
        message = await self.until(lambda m: m[0] in (3, 4) and m[1] == number)
        if message[0] == 4:
            raise Refused(*message[2:5])
        return message

    async def emit(self, room: str, event: str, data: Any = None) -> None:
        """Send an event to the members of a room, this one included."""
        await self.send(4, room, event, data)

    async def sees(self, room: str, meets: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Receive until the state of a room meets a condition; returns the state."""
        async with asyncio.timeout(PATIENCE):
            while not meets(self.states.get(room, {})):
                await self.receive()
        return self.states[room]

    async def hears(self, room: str, event: str) -> Any:
        """Return the data of the oldest event of this name that was not returned before."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for message in self.events:
                    if message[1:3] == [room, event]:
                        self.events.remove(message)
                        return message[3]
                await self.receive()

    def _apply(self, message: Message) -> None:
        match message:
            case [0, room, version, tag, state]:
                self._stored[room] = state
                self.heads[room] = (version, tag)
                self._show(room)
            case [1, room, version, parent, tag, changed, deleted]:
                assert self.heads[room][1] == parent, "a patch that does not fit was delivered"
                self._stored[room].update(changed)
                for key in deleted:
                    self._stored[room].pop(key, None)
                self.heads[room] = (version, tag)
                self._show(room)
            case [8, room, _, _, defaults, _, access]:
                self._defaults[room] = defaults
                self.access[room] = access
                self._show(room)
            case [2, *_]:
                self.events.append(message)

    def _show(self, room: str) -> None:
        self.states[room] = {**self._defaults.get(room, {}), **self._stored.get(room, {})}


def _open_socket(
    address: str, headers: Mapping[str, str]
) -> AbstractAsyncContextManager[ClientConnection]:
    return open_websocket(
        f"ws://{address}/ws",
        subprotocols=[Subprotocol("gospa.v1")],
        additional_headers=headers,
        max_size=None,
        max_queue=None,
        proxy=None,
        open_timeout=PATIENCE,
        ping_interval=None,
    )


@asynccontextmanager
async def raw_client(
    site: Site, *, user: str = "", cookie: str = "", **options: Any
) -> AsyncIterator[RawClient]:
    """Connect to a served application: as a new visitor, a user, or whoever has the cookie."""
    cookie = await site.log_in(user) if user else cookie
    async with RawClient.connect(site.address, cookie=cookie, **options) as client:
        yield client


class ConnectRaw(Protocol):
    """Type of the fixture `connect_raw`; arguments are those of `raw_client`."""

    def __call__(
        self, *, user: str = "", cookie: str = "", **options: Any
    ) -> AbstractAsyncContextManager[RawClient]: ...
