"""A client that does not give up: it comes back, resumes, and sends again what was not answered."""

import asyncio
import contextlib
import random
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from gospa.store.contract import NO_TAG
from tests.gospa.chaos.truth import Mutation, Truth

RECEIVE_BUFFER = 8192  # bytes
WINDOW = 8  # changes of one room that may be under way at once
AGAIN = (0.1, 0.4)  # seconds before something refused for the moment is tried again
SILENCE = 15  # seconds after which the worker may hang: connect to another
COME_BACK = (0.05, 0.5)  # seconds before connecting again


@dataclass(slots=True)
class View:
    """One room as this client shows it."""

    version: int = 0
    tag: bytes = NO_TAG
    state: dict[str, Any] = field(default_factory=dict)
    joined: bool = False
    issued: int = 0
    pending: deque[Mutation] = field(default_factory=deque)


class ChaosClient:
    """One user with a page open in some rooms; `pace` is the mean of seconds between changes."""

    def __init__(
        self, address: str, rooms: list[str], truth: Truth, rng: random.Random, pace: float
    ) -> None:
        self.views = {room: View() for room in rooms}
        self.writing = False
        self.reading = asyncio.Event()
        self.reading.set()
        self.pid: int | None = None
        self._address = address
        self._truth = truth
        self._rng = rng
        self._pace = pace
        self._mid = 0
        self._id = rng.randbytes(16)
        self._name = self._id.hex()[:8]
        self._cookie: dict[str, str] = {}  # of its session, to which its mutations belong
        self._websocket: ClientConnection | None = None
        self._timers: dict[str, asyncio.Task[None]] = {}

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
            with contextlib.suppress(OSError, WebSocketException, TimeoutError, EOFError):
                await self._connect()
            self._truth.counts["reconnects"] += 1
            await asyncio.sleep(self._rng.uniform(*COME_BACK))

    async def _connect(self) -> None:
        host, _, port = self._address.partition(":")
        connection = socket.socket()
        # The kernel would take megabytes for a client that does not read.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
        connecting = open_websocket(
            f"ws://{self._address}/ws",
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
        async with connecting as websocket:
            self._websocket = websocket
            if websocket.response and (cookie := websocket.response.headers.get("Set-Cookie")):
                self._cookie = {"Cookie": cookie.partition(";")[0]}
            try:
                await self._send(6, self._id)
                await self._join_all()
                write = asyncio.create_task(self._write())
                try:
                    await self._read(websocket)
                finally:
                    write.cancel()
                    await asyncio.gather(write, return_exceptions=True)
            finally:
                self._websocket = self.pid = None
                for timer in self._timers.values():
                    timer.cancel()
                self._timers.clear()
                for view in self.views.values():
                    view.joined = False

    async def _join_all(self) -> None:
        for room, view in self.views.items():
            if view.tag != NO_TAG and self._rng.random() < 0.8:
                await self._send(0, room, view.version, view.tag)
            else:
                await self._send(0, room, None, None)

    async def _read(self, websocket: ClientConnection) -> None:
        while True:
            await self.reading.wait()
            async with asyncio.timeout(SILENCE):
                raw = await websocket.recv()
            assert isinstance(raw, bytes)
            await self._receive(msgpack.unpackb(raw))

    async def _receive(self, message: list[Any]) -> None:
        match message:
            case [0, room, version, tag, state]:
                self._show(room, version, tag, state)
            case [1, room, *patch]:
                self._follow(room, patch)
            case [3, mid, *_]:
                self._acknowledge(mid)
            case [4, mid, code, _, room]:
                self._refuse(mid, code, room)
            case [5, _, _, server, *_]:
                self.pid = server["pid"]
            case [8, room, _, tag, _]:
                await self._arrive(room, tag)

    def _show(self, room: str, version: int, tag: bytes, state: dict[str, Any]) -> None:
        view = self.views[room]
        view.version, view.tag, view.state = version, tag, state
        self._truth.shown(self._name, room, tag, state)

    def _follow(self, room: str, patch: list[Any]) -> None:
        version, parent, tag, changed, deleted = patch
        view = self.views[room]
        if parent != view.tag:
            self._truth.violate(f"{self._name} got a patch of {room} that did not fit")
            return
        kept = {key: value for key, value in view.state.items() if key not in deleted}
        self._show(room, version, tag, {**kept, **changed})

    async def _arrive(self, room: str, tag: bytes) -> None:
        view = self.views[room]
        if tag != view.tag:
            await self._send(0, room, None, None)
            return
        view.joined = True
        await self._send_pending(view)

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
        view.issued += 1
        self._mid += 1
        filler = "x" * self._rng.choice((0, 100, 5000))
        mutation = Mutation(self._id.hex(), room, view.issued, self._mid, filler)
        view.pending.append(mutation)
        self._truth.open.append(mutation)
        return mutation

    async def _send_mutation(self, mutation: Mutation) -> None:
        arguments = {
            "client": mutation.client,
            "number": mutation.number,
            "filler": mutation.filler,
        }
        await self._send(2, mutation.mid, mutation.room, "add", arguments)

    def _acknowledge(self, mid: int) -> None:
        if mutation := self._take(mid):
            mutation.acknowledged = asyncio.get_running_loop().time()

    def _refuse(self, mid: int | None, code: str, room: str) -> None:
        self._truth.counts[f"errors: {code}"] += 1
        if code == "unavailable":
            self._try_again(room)
        elif mid is None:
            self._truth.violate(f"joining {room} was refused: {code}")
        elif mutation := self._take(mid):
            mutation.refused = code

    def _try_again(self, room: str) -> None:
        if room not in self._timers:
            self._timers[room] = asyncio.create_task(self._repeat(room))

    async def _repeat(self, room: str) -> None:
        view = self.views[room]
        await asyncio.sleep(self._rng.uniform(*AGAIN))
        del self._timers[room]
        with contextlib.suppress(WebSocketException):
            if view.joined:
                await self._send_pending(view)
            else:
                await self._send(0, room, None, None)

    async def _send(self, *message: Any) -> None:
        if self._websocket:
            await self._websocket.send(msgpack.packb(list(message)))

    def _take(self, mid: int) -> Mutation | None:
        """The pending mutation of that number, pending no more."""
        for view in self.views.values():
            for mutation in view.pending:
                if mutation.mid == mid:
                    view.pending.remove(mutation)
                    return mutation
        return None
