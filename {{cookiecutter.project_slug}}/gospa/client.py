"""A client for Python: bots, devices, load tests, scripts and tests.

    async with connect("ws://localhost:8000/ws", cookie="app_session=...") as client:
        room = await client.join("poll/lunch")
        await room.call("add", amount=1)
        await room.until(lambda state: state["count"] == 3)
        event = await room.next_event("typing")

Like the browser client (docs/protocol.md), it reconnects with backoff, resumes its rooms, and
applies each mutation exactly once.
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Literal, NoReturn, Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus, ProxyError
from websockets.typing import Subprotocol

from gospa import tasks
from gospa.live import wire
from gospa.remote.backoff import backoff
from gospa.remote.errors import Closed, Refused
from gospa.remote.membership import Membership, Message
from gospa.remote.room import ClientRoom, Event
from gospa.remote.uplink import Uplink, checked
from gospa.store.codec import encode, unpack

__all__ = ["Client", "ClientRoom", "Closed", "Event", "Refused", "connect"]

# Seconds
PATIENCE = 10.0  # until WELCOME, and for the answer to a ping
SILENCE = 15.0  # between pings
CLOSING = 1.0  # for the closing handshake
STABLE = 5.0  # a connection that lasts this long resets the backoff
RECONNECT = (0.5, 20.0)  # backoff

FOR_GOOD = 4500  # close codes from here on are final
TEMPORARY = frozenset({408, 429})  # statuses below 500 of a handshake that may succeed later
LOGGER = logging.getLogger("gospa.client")

Status = Literal["connecting", "online", "offline", "closed"]


def connect(
    url: str,
    *,
    cookie: str = "",
    token: str = "",
    headers: Mapping[str, str] | None = None,
    patience: float | None = None,
    **options: Any,
) -> "Client":
    """Make a client of the server at `url`; use it as an asynchronous context manager.

    `cookie` is a Cookie header. Instead of it, `token` is a token of the server's `issue_token`,
    which is sent in the Authorization header. `headers` are additional headers. `options` are those
    of `websockets.asyncio.client.connect`, for example `ssl` or `proxy`.

    Entering it waits for the server. It raises Closed if the server refuses the client; errors of
    the network, such as those of TLS, are logged, and it tries again. Leaving it closes the client:
    pending requests are not sent any more, and raise Closed.

    Entering it, joins, calls and other waits, except for iterators, raise TimeoutError after
    `patience` seconds. Without `patience` they wait without a limit.
    """
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    return Client(url, cookie, {**authorization, **(headers or {})}, options, patience)


class Client:
    """One connection to a server at a time, and the rooms that share it."""

    def __init__(
        self,
        url: str,
        cookie: str,
        headers: Mapping[str, str],
        options: Mapping[str, Any],
        patience: float | None,
    ) -> None:
        """See `connect`."""
        self.status: Status = "connecting"
        self.cookie = cookie  # the Cookie header, which follows what handshakes set
        self.member = ""  # the id under which other members see this client
        self._url, self._headers = url, headers
        self._options = {
            "max_size": None,
            "compression": None,
            "open_timeout": PATIENCE,
            "ping_interval": SILENCE,
            "ping_timeout": PATIENCE,
            "close_timeout": CLOSING,
            **options,
        }
        self._id = os.urandom(16)
        self._uplink = Uplink(patience)
        self._rooms: dict[str, ClientRoom] = {}
        self._ending: list[ClientRoom] = []  # rooms without access whose mutations wait for answers
        self._not_before = 0.0  # loop time: earliest reconnect, from BYE
        self._began = asyncio.Event()  # set by the first connection, or the end
        self._closed: Closed | None = None
        self._task: asyncio.Task[Closed] | None = None

    @property
    def server(self) -> Mapping[str, Any]:
        """The server's data in the last WELCOME."""
        return self._uplink.server

    @property
    def pid(self) -> int:
        """The process id of the worker that serves this client.

        Raises LookupError unless the server runs with GOSPA_DEMO=true.
        """
        if "pid" not in self.server:
            raise LookupError("the server tells its process ids only with GOSPA_DEMO=true")
        return int(self.server["pid"])

    @property
    def session(self) -> Mapping[str, Any] | None:
        """The session's public `id` and its `user`, as in the last WELCOME, if it had them."""
        return self._uplink.session

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._task = asyncio.create_task(self._run(), name=f"client of {self._url}")
            self._task.add_done_callback(self._end)
            stack.push_async_callback(self.__aexit__)
            async with asyncio.timeout(self._uplink.patience):
                await self._began.wait()
            if self._closed is not None:
                raise self._closed
            stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def join(self, room: str, details: Any = None) -> ClientRoom:
        """Return a room once it is joined: the same object until it is left.

        `details` is data about this client, which the list of members, `<room>#members`, shows as
        its `claims`. Raises Refused or Closed.
        """
        if self._closed is not None:
            raise self._closed
        joined = self._rooms.get(checked(room, wire.MAX_ROOM))
        if joined is None:
            self._uplink.frame(room, wire.JOIN, room, None, None, details)  # raises Refused
            later = asyncio.get_running_loop().call_later
            membership = Membership(room, details, self._uplink.post, later)
            joined = self._rooms[room] = ClientRoom(membership, self._uplink, self._rooms)
            if self.status == "online":
                membership.enter()
        return await joined.joined()

    async def _run(self) -> Closed:
        """Reconnect whenever the connection is lost; returns the reason if that is useless."""
        loop, attempt = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            self._become("connecting")
            try:
                await self._converse()
            except (OSError, InvalidStatus, InvalidMessage, ProxyError, ConnectionClosed) as error:
                if closed := _final(error):
                    return closed
                LOGGER.warning("no connection to %s: %s", self._url, error)
            if self.status == "online" and loop.time() - began > STABLE:
                attempt = 0
            self._lose()
            wait = max(0.0, self._not_before - loop.time())
            await asyncio.sleep(wait + backoff(attempt, *RECONNECT))
            attempt += 1

    async def _converse(self) -> None:
        """Serve one connection; raises the exception that ended it."""
        headers = {**self._headers, **({"Cookie": self.cookie} if self.cookie else {})}
        user = (self.session or {}).get("user")  # who must not go on as another visitor
        offered = [wire.SUBPROTOCOL, wire.WITH_SESSION] if user else [wire.SUBPROTOCOL]
        async with open_websocket(
            self._url,
            subprotocols=[*map(Subprotocol, offered)],
            additional_headers=headers,
            **self._options,
        ) as websocket:
            if websocket.response is not None:
                received = websocket.response.headers.get_all("Set-Cookie")
                self.cookie = _merge(self.cookie, received)
            await websocket.send(encode([wire.HELLO, self._id]))
            self._uplink.open(websocket)
            work = [
                asyncio.create_task(self._read(websocket)),
                asyncio.create_task(self._uplink.write(websocket)),
            ]
            try:
                done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                await tasks.stop(*work)
            for task in done:
                task.result()

    async def _read(self, websocket: ClientConnection) -> NoReturn:
        async with asyncio.timeout(PATIENCE):
            while self.status != "online":
                self._receive(unpack(await websocket.recv(decode=False)))
        while True:
            self._receive(unpack(await websocket.recv(decode=False)))

    def _receive(self, message: Message) -> None:
        rooms = self._rooms
        match message:
            case [wire.WELCOME, _, member, server, *more]:
                self.member = member
                self._uplink.server, self._uplink.session = server, more[0] if more else None
                self._become("online")
                self._began.set()
                size = self._uplink.limits["frame_size"]
                for room in self._all():
                    room.membership.resume(self._uplink.session_id, size)
            case [wire.BYE, _, delay, *_]:  # milliseconds
                self._not_before = asyncio.get_running_loop().time() + delay / 1000
            case [wire.ERROR, None, code, text, str(name), *_] if name in rooms:
                error = Refused(code, text, name)
                rooms[name].membership.refuse(error)
                if rooms[name].membership.error is error:
                    self._ending.append(rooms.pop(name))
                elif code != "unavailable":
                    LOGGER.warning("a request was refused: %s", error)
            case [wire.ACK | wire.DONE | wire.ERROR, int() | bytes(), *_]:
                for room in self._all():
                    room.membership.answer(message)
            case [_, str(name), *_] if name in rooms:
                rooms[name].membership.receive(message)

    def _all(self) -> list[ClientRoom]:
        """The rooms that may wait for answers: those without access first."""
        self._ending = [room for room in self._ending if not room.membership.settled]
        return [*self._ending, *self._rooms.values()]

    def _become(self, status: Status) -> None:
        self.status = status

    def _lose(self) -> None:
        self._become("offline")
        self._uplink.websocket = None
        for room in self._all():
            room.membership.lose()

    def _end(self, task: asyncio.Task[Closed]) -> None:
        """Reject pending requests with the reason of the end."""
        if task.cancelled():
            self._closed = Closed(1000, "the client was closed")
        elif error := task.exception():
            LOGGER.error("the client of %s failed", self._url, exc_info=error)
            self._closed = Closed(1011, f"the client failed: {error!r}")
            self._closed.__cause__ = error
        else:
            self._closed = task.result()
        self._lose()
        self._become("closed")
        self._began.set()
        for room in self._all():
            room.membership.end(self._closed)
        self._rooms.clear()


def _final(error: Exception) -> Closed | None:
    """Why connecting again would fail the same way; None if it may succeed."""
    if isinstance(error, InvalidStatus):
        status, body = error.response.status_code, error.response.body or b""
        if status < 500 and status not in TEMPORARY:
            return Closed(status, body.decode(errors="replace"))
    elif isinstance(error, ConnectionClosed) and error.rcvd:
        code, reason = error.rcvd.code, error.rcvd.reason
        if code >= FOR_GOOD or code == wire.NO_SESSION.code:  # of the user, see `_converse`
            return Closed(code, reason)
    return None


def _merge(cookie: str, received: Iterable[str]) -> str:
    """A Cookie header with the cookies of these Set-Cookie headers; empty ones are deleted."""
    pairs = [*cookie.split(";"), *(each.partition(";")[0] for each in received)]
    split = (pair.partition("=") for pair in pairs)
    values = {name.strip(): value.strip() for name, _, value in split}
    return "; ".join(f"{name}={value}" for name, value in values.items() if value)
