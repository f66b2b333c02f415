"""A client that does not give up: it comes back, resumes, and sends again what was not answered."""

import asyncio
import contextlib
import random
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgpack
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from gospa.store.contract import NO_TAG, TAG_BYTES
from tests.gospa.chaos.mutation import Author, Mutation
from tests.gospa.chaos.sight import Sight
from tests.gospa.chaos.truth import Kind, Truth
from tests.gospa.raw_stream import RawStream, open_stream

RECEIVE_BUFFER = 8192  # bytes
WINDOW = 8  # changes of one room that may be under way at once
AGAIN = (0.1, 0.4)  # seconds before something refused for the moment is tried again
SILENCE = 15  # seconds after which the worker may hang: connect to another
COME_BACK = (0.05, 0.5)  # seconds before connecting again
LOST = (OSError, WebSocketException, httpx.HTTPError, TimeoutError, EOFError)
LATER = ("unavailable", "busy")  # errors after which it tries again
AT_ONCE = 0.3  # chance of connecting again without a pause
RESTLESS = 0.01  # chance of a new connection after an answer
STREAMS = 0.3  # chance that a connection is an event stream


@dataclass(slots=True)
class View:
    """One room as this client shows it."""

    sight: Sight
    state: dict[str, Any] = field(default_factory=dict)
    joined: bool = False
    pending: deque[Mutation] = field(default_factory=deque)


class ChaosClient:
    """One user with a page open in some rooms; `pace` is the mean of seconds between changes."""

    def __init__(
        self,
        addresses: Sequence[str],
        rooms: Sequence[str],
        truth: Truth,
        rng: random.Random,
        pace: float,
    ) -> None:
        self.writing = False
        self.restless = RESTLESS
        self.reading = asyncio.Event()
        self.reading.set()
        self.pid: int | None = None
        self._addresses = addresses
        self._truth = truth
        self._rng = rng
        self._pace = pace
        self._mid = 0
        self._id = rng.randbytes(16)
        self._author = Author(self._id.hex(), truth.shelves, rng)
        self._name = self._id.hex()[:8]
        self.views = {room: View(Sight(self._author.client, room, truth)) for room in rooms}
        self._place = 0, ""  # the process and the address that served it last
        self._session: str | None = None  # to which its mutations belong
        self._cookie: dict[str, str] = {}
        self._websocket: ClientConnection | RawStream | None = None
        self._timers: dict[str, asyncio.Task[None]] = {}

    @property
    def heads(self) -> dict[str, tuple[int, bytes]]:
        """Version and tag of what it shows of each room."""
        return {room: (view.sight.version, view.sight.tag) for room, view in self.views.items()}

    def rest(self) -> None:
        """All was judged."""
        for view in self.views.values():
            view.sight.rest(self._author.client, view.state)

    @property
    def settled(self) -> bool:
        """Whether everything it asked for was answered."""
        return all(view.joined and not view.pending for view in self.views.values())

    def disconnect(self) -> None:
        """Vanish without a word."""
        if self._websocket:
            self._websocket.transport.abort()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(*LOST):
                await self._connect()
            self._truth.counts["reconnects"] += 1
            if self._rng.random() > AT_ONCE:
                await asyncio.sleep(self._rng.uniform(*COME_BACK))

    async def _connect(self) -> None:
        address = self._rng.choice(self._addresses)
        streams = self._rng.random() < STREAMS
        self._truth.counts["streams"] += streams
        opened = open_stream(address, self._cookie) if streams else await self._socket(address)
        async with opened as websocket:
            self._websocket = websocket
            if websocket.response and (cookie := websocket.response.headers.get("Set-Cookie")):
                self._cookie = {"Cookie": cookie.partition(";")[0]}
            try:
                await self._converse(websocket, address)
            finally:
                self._websocket = self.pid = None
                for timer in self._timers.values():
                    timer.cancel()
                self._timers.clear()
                for view in self.views.values():
                    view.joined = False

    async def _socket(self, address: str) -> AbstractAsyncContextManager[ClientConnection]:
        host, _, port = address.partition(":")
        connection = socket.socket()
        # The kernel would take megabytes for a client that does not read.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
        return open_websocket(
            f"ws://{address}/ws",
            sock=connection,
            subprotocols=[Subprotocol("gospa.v1")],
            additional_headers=self._cookie,
            open_timeout=5,
            close_timeout=1,
            ping_interval=None,
            max_size=None,
            max_queue=8,
            proxy=None,
        )

    async def _converse(self, websocket: ClientConnection | RawStream, address: str) -> None:
        await self._send(6, self._id)
        async with asyncio.timeout(SILENCE):
            self._welcome(msgpack.unpackb(await websocket.recv(decode=False)), address)
        for room, view in self.views.items():
            await self._join(room, view.sight.rejoin())
        write = asyncio.create_task(self._write())
        try:
            await self._read(websocket)
        finally:
            write.cancel()
            await asyncio.gather(write, return_exceptions=True)

    def _welcome(self, message: list[Any], address: str) -> None:
        if message[0] != 5:
            raise EOFError  # BYE: the server stops
        _, _, _, server, session, *_ = message
        self.pid = server["pid"]
        if self._session not in (None, session["id"]):
            self._lose_session()
        self._session = session["id"]
        (pid, before), self._place = self._place, (server["pid"], address)
        self._truth.counts["moves to another worker"] += pid not in (0, server["pid"])
        self._truth.counts["moves to another host"] += before not in ("", address)

    def _lose_session(self) -> None:
        """What was sent in it may not be repeated, and may be applied at any time."""
        for view in self.views.values():
            for mutation in view.pending:
                mutation.unknown = True
            view.pending.clear()
            view.sight.leave_line()
        self._author.client = self._rng.randbytes(16).hex()
        for view in self.views.values():
            view.sight.client = self._author.client

    async def _join(self, room: str, version: int) -> None:
        """Name the newest version, and a tag that the server knows, or not, or none."""
        tag: bytes | None = self.views[room].sight.tag
        chance = self._rng.random()
        if tag == NO_TAG or chance < 0.2:
            tag = None
        elif chance < 0.3:
            tag = self._rng.randbytes(TAG_BYTES)
        await self._send(0, room, version or None, tag)

    async def _read(self, websocket: ClientConnection | RawStream) -> None:
        while True:
            await self.reading.wait()
            async with asyncio.timeout(SILENCE):
                raw = await websocket.recv()
            assert isinstance(raw, bytes)
            await self._receive(msgpack.unpackb(raw))

    async def _receive(self, message: list[Any]) -> None:
        match message:
            case [0, room, version, tag, state]:
                self._show(room, (version, tag), state)
            case [1, room, *patch]:
                self._follow(room, patch)
            case [3, mid, version, result, *_]:
                await self._acknowledge(mid, version, result)
            case [9, mid, result, *_]:
                await self._acknowledge(mid, None, result)
            case [4, mid, code, text, room]:
                self._refuse(mid, code, text, room)
            case [8, room, _, tag, *_]:
                await self._arrive(room, tag)

    def _show(
        self,
        room: str,
        head: tuple[int, bytes],
        state: dict[str, Any],
        parent: bytes | None = None,
    ) -> None:
        view = self.views[room]
        view.state = state
        view.sight.shown(head, state, parent)

    def _follow(self, room: str, patch: list[Any]) -> None:
        version, parent, tag, changed, deleted = patch
        view = self.views[room]
        if parent != view.sight.tag:
            text = f"{self._name} got a patch of {room} that did not fit"
            self._truth.violate(Kind.WRONG, text)
            return
        kept = {key: value for key, value in view.state.items() if key not in deleted}
        self._show(room, (version, tag), {**kept, **changed}, parent)

    async def _arrive(self, room: str, tag: bytes) -> None:
        view = self.views[room]
        if tag != view.sight.tag:  # the server knows no state, or we named none that it knows
            await self._send(0, room, view.sight.newest or None, None)
            return
        view.sight.joined(view.state)
        await self._send_pending(view)
        view.joined = True  # only now: a new change must not overtake those

    async def _send_pending(self, view: View) -> None:
        for mutation in list(view.pending):
            await self._send_mutation(mutation)

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / self._pace))
            room, view = self._rng.choice(list(self.views.items()))
            if self.writing and view.joined and len(view.pending) < WINDOW:
                mutation = self._issue(room, view)
                await self._send_mutation(mutation)

    def _issue(self, room: str, view: View) -> Mutation:
        self._mid += 1
        mutation = self._author.issue(room, self._mid)
        view.pending.append(mutation)
        self._truth.open.append(mutation)
        return mutation

    async def _send_mutation(self, mutation: Mutation) -> None:
        mutation.sent += 1
        call = mutation.kind, mutation.arguments
        kind = 7 if mutation.is_command else 2
        await self._send(kind, mutation.mid, mutation.room, *call)

    async def _acknowledge(self, mid: int | bytes, version: int | None, result: Any) -> None:
        if mutation := self._take(mid):
            self._truth.acknowledge(mutation, version, result)
            self.views[mutation.room].sight.acknowledged(mutation)
            if self._rng.random() < self.restless:
                self.disconnect()

    def _refuse(self, mid: int | bytes | None, code: str, text: str, room: str) -> None:
        self._truth.counts[f"errors: {code}"] += 1
        if code in LATER:
            self._try_again(room)
        elif mid is None:
            self._truth.violate(Kind.WRONG, f"joining {room} was refused: {code}")
        elif mutation := self._take(mid):
            self._truth.refuse(mutation, code, text)

    def _try_again(self, room: str) -> None:
        if room not in self._timers:
            self._timers[room] = asyncio.create_task(self._repeat(room))

    async def _repeat(self, room: str) -> None:
        view = self.views[room]
        await asyncio.sleep(self._rng.uniform(*AGAIN))
        del self._timers[room]
        with contextlib.suppress(*LOST):
            if view.joined:
                await self._send_pending(view)
            else:
                await self._join(room, view.sight.newest)

    async def _send(self, *message: Any) -> None:
        if self._websocket:
            await self._websocket.send(msgpack.packb(list(message)))

    def _take(self, mid: int | bytes) -> Mutation | None:
        """The pending mutation of that number, pending no more."""
        for view in self.views.values():
            for mutation in view.pending:
                if mutation.mid == mid:
                    view.pending.remove(mutation)
                    return mutation
        return None
