"""A WebSocket client for tests, and how they wait."""

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.typing import Subprotocol

Message = list[Any]

PATIENCE = 30  # seconds that a client waits for a message


async def until(
    met: Callable[[], bool] | Callable[[], Awaitable[bool]], within: float = 40
) -> None:
    """Return once the condition is met; raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            outcome = met()
            if await outcome if inspect.isawaitable(outcome) else outcome:
                return
            await asyncio.sleep(0.02)


class Refused(Exception):
    """The server answered a request with ERROR."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Member:
    """A WebSocket client. `states` holds the state of each joined room, defaults included."""

    welcome: Message

    def __init__(self, websocket: ClientConnection, client: bytes) -> None:
        self.websocket = websocket
        self.client = client
        self.number = 0
        self.states: dict[str, dict[str, Any]] = {}
        self._stored: dict[str, dict[str, Any]] = {}
        self._defaults: dict[str, dict[str, Any]] = {}
        self.heads: dict[str, tuple[int, bytes]] = {}
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
        **headers: str,
    ) -> AsyncIterator["Member"]:
        """Connect to a host and port, and send HELLO."""
        fields = {**headers, **({"Cookie": cookie} if cookie else {})}
        async with open_websocket(
            f"ws://{address}/ws",
            subprotocols=[Subprotocol("gospa.v1")],
            additional_headers=fields,
            max_size=None,
            max_queue=None,
            proxy=None,
        ) as websocket:
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
        return response.headers["Set-Cookie"].partition(";")[0]

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
        self, room: str, version: int | None = None, tag: bytes | None = None
    ) -> dict[str, Any]:
        """Join a room and return its state; raises Refused."""
        await self.send(0, room, version, tag)
        answer = await self.until(
            lambda m: (m[0] == 8 and m[1] == room) or (m[0] == 4 and m[4] == room)
        )
        if answer[0] == 4:
            raise Refused(answer[2], answer[3])
        return self.states[room]

    async def call(self, room: str, action: str, **args: Any) -> Any:
        """Call an action and return its result; raises Refused."""
        self.number += 1
        await self.send(2, self.number, room, action, args)
        return (await self.answer(self.number))[3]

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
            raise Refused(message[2], message[3])
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
            case [8, room, _, _, defaults]:
                self._defaults[room] = defaults
                self._show(room)
            case [2, *_]:
                self.events.append(message)

    def _show(self, room: str) -> None:
        self.states[room] = {**self._defaults.get(room, {}), **self._stored.get(room, {})}
