"""A client for tests: speaks the protocol as a browser does, and keeps what it is shown."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.typing import Subprotocol

Message = list[Any]


class Refused(Exception):
    """The server answered a mutation with ERROR."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Member:
    """One connection. `states` holds each joined room's state as the frames gave it."""

    def __init__(self, websocket: ClientConnection, client: bytes) -> None:
        self.websocket = websocket
        self.client = client
        self.number = 0
        self.states: dict[str, dict[str, Any]] = {}
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
        """Connect to host and port, and say HELLO."""
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

    welcome: Message

    @property
    def pid(self) -> int:
        """The process id of the worker at the other end."""
        return int(self.welcome[3]["pid"])

    @property
    def cookie(self) -> str:
        """The session's cookie that the handshake gave."""
        response = self.websocket.response
        assert response is not None
        return response.headers["Set-Cookie"].partition(";")[0]

    async def send(self, *message: Any) -> None:
        await self.websocket.send(msgpack.packb(list(message), datetime=True))

    async def receive(self) -> Message:
        """The next message; room states follow."""
        raw = await self.websocket.recv()
        assert isinstance(raw, bytes)
        message: Message = msgpack.unpackb(raw, timestamp=3)
        self._follow(message)
        return message

    async def until(self, meets: Callable[[Message], bool]) -> Message:
        """Receive up to the first message that meets a condition."""
        async with asyncio.timeout(30):
            while True:
                message = await self.receive()
                if meets(message):
                    return message

    async def join(
        self, room: str, version: int | None = None, tag: bytes | None = None
    ) -> dict[str, Any]:
        """Join and return the state; raises Refused."""
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
        self.number += 1
        await self.send(3, self.number, room, values, delete or [])
        version: int = (await self.answer(self.number))[2]
        return version

    async def answer(self, number: int) -> Message:
        message = await self.until(lambda m: m[0] in (3, 4) and m[1] == number)
        if message[0] == 4:
            raise Refused(message[2], message[3])
        return message

    async def sees(self, room: str, meets: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Receive until the room's state meets a condition."""
        async with asyncio.timeout(30):
            while not meets(self.states.get(room, {})):
                await self.receive()
        return self.states[room]

    def _follow(self, message: Message) -> None:
        match message:
            case [0, room, version, tag, state]:
                self.states[room] = state
                self.heads[room] = (version, tag)
            case [1, room, version, parent, tag, changed, deleted]:
                assert self.heads[room][1] == parent, "a patch that does not fit was delivered"
                self.states[room].update(changed)
                for key in deleted:
                    self.states[room].pop(key, None)
                self.heads[room] = (version, tag)
            case [2, *_]:
                self.events.append(message)
