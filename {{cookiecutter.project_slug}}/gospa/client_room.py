"""A joined room as Python programs use it, and what the rooms of one client share."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import Any, Generic, Self, TypeAlias, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from gospa.live import wire
from gospa.membership import Membership, Mutation, Refused
from gospa.store.codec import CodecError, check_bounds, encode, pack

EVENTS = 1024  # events kept for an iterator that is behind
MAX_NAME = 128  # characters
LIMITS = {
    "frame_size": wire.DEFAULTS.frame_size,
    "frame_depth": wire.DEFAULTS.frame_depth,
    "frame_elements": wire.DEFAULTS.frame_elements,
}

Item = TypeVar("Item")
State: TypeAlias = Mapping[str, Any]
Event: TypeAlias = tuple[str, Any, str]  # name, payload, the sender's `member`


def checked(name: str) -> str:
    """A valid name of a room, an action or an event. Raises Refused."""
    if 1 <= len(name) <= MAX_NAME:
        return name
    raise Refused("invalid", f"a name has 1 to {MAX_NAME} characters", None)


class Feed(Generic[Item]):
    """Items for one reader; of more than `longest`, the oldest are dropped."""

    def __init__(self, longest: int | None = None) -> None:
        self._items: deque[Item] = deque(maxlen=longest)
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._news.set()

    def end(self, error: Exception) -> None:
        """Have `next` raise this once all items were read."""
        self._error = error
        self._news.set()

    async def next(self) -> Item:
        while not self._items:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        return self._items.popleft()


Feeds: TypeAlias = set[Feed[Item]]


class Uplink:
    """What the rooms of a client share: the connection, and the numbers of mutations."""

    def __init__(self) -> None:
        self.rooms: dict[str, ClientRoom] = {}
        self.websocket: ClientConnection | None = None
        self.server: Mapping[str, Any] = {}  # its data in WELCOME
        self.session: Mapping[str, Any] | None = None
        self._number = 0
        # Bounded, because a room has a bounded number of mutations.
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    def session_id(self) -> str | None:
        """The public id of the session, if the server sends one."""
        return None if self.session is None else self.session.get("id")

    @property
    def limits(self) -> Mapping[str, int]:
        """The server's limits for one message."""
        return {**LIMITS, **self.server}

    def frame(self, room: str, *message: Any) -> bytes:
        """Encode a message about a room. Raises Refused if the server would close on it."""
        limits = self.limits
        try:
            raw = pack(list(message))
            elements, depth = limits["frame_elements"], limits["frame_depth"]
            check_bounds(list(message), elements=elements, depth=depth)
        except CodecError as error:
            raise Refused("invalid", str(error), room) from error
        if len(raw) > limits["frame_size"]:
            size = f"a message has at most {limits['frame_size']} bytes"
            raise Refused("too_large", size, room)
        return raw

    def number(self) -> int:
        """The next mutation's."""
        self._number += 1
        return self._number

    def open(self, websocket: ClientConnection) -> None:
        """Use a new connection."""
        self.websocket, self._outbox = websocket, asyncio.Queue()

    def post(self, raw: bytes) -> None:
        """Send a frame over the current connection, after those before it."""
        self._outbox.put_nowait(raw)

    async def write(self, websocket: ClientConnection) -> None:
        """Send what is posted, until the connection is closed."""
        with suppress(ConnectionClosed):  # the reader raises it, after what arrived before
            while True:
                await websocket.send(await self._outbox.get())


class ClientRoom:
    """A joined room. Its methods raise what ended it: Refused (also after `leave`), or Closed."""

    def __init__(self, membership: Membership, uplink: Uplink) -> None:
        self.membership = membership  # for the client
        self._uplink = uplink
        self._shown: State | None = None
        self._states: Feeds[State] = set()
        self._events: Feeds[Event] = set()
        membership.on_change, membership.on_event = self._change, self._hear

    @property
    def name(self) -> str:
        return self.membership.name

    @property
    def state(self) -> State:
        """The newest confirmed state, over the room's defaults. Do not change the values in it."""
        return self.membership.state

    @property
    def version(self) -> int:
        """The version of the newest commit in the state."""
        return self.membership.version

    @property
    def tag(self) -> bytes:
        """The tag of the newest commit in the state."""
        return self.membership.tag

    async def call(self, action: str, /, **args: Any) -> Any:
        """Call an action, exactly once, over any number of connections.

        Returns its result once `state` contains its effect; None if the answer to the first try was
        lost. Mutations of a room are applied in the order in which they were started. If this is
        cancelled, a mutation that was sent already may still be applied. Raises Refused or Closed.
        """
        return await self._mutate(wire.CALL, checked(action), args)

    async def set(self, key: str, value: Any) -> None:
        """Set a key that the room lets members write, as `call` does."""
        await self._mutate(wire.WRITE, {key: value}, [])

    async def delete(self, key: str) -> None:
        """Delete a key that the room lets members write, as `call` does."""
        await self._mutate(wire.WRITE, {}, [key])

    async def send(self, event: str, payload: Any = None) -> bool:
        """Send an event to all current members, at most once.

        Returns whether it was sent: not while disconnected. The server does not acknowledge events;
        if it refuses one, that is logged. Raises Refused or Closed.
        """
        raw = self._uplink.frame(self.name, wire.SEND, self.name, checked(event), payload)
        if self.membership.error is not None:
            raise self.membership.error
        websocket = self._uplink.websocket
        if websocket is None or not self.membership.joined:
            return False
        try:
            await websocket.send(raw)
        except ConnectionClosed:
            return False
        return True

    def events(self) -> AsyncGenerator[Event, None]:
        """Name, payload and sender (`Client.member`) of each event from now on.

        If the reader is more than 1024 events behind, it misses the oldest.
        """
        return self._read(self._events, self._follow(self._events, Feed(EVENTS)))

    def changes(self) -> AsyncGenerator[State, None]:
        """The current state, then the newest one after each change; a slow reader skips some."""
        return self._read(self._states, self._follow(self._states, self._current(1)))

    async def until(self, meets: Callable[[State], bool]) -> State:
        """Return the first state, from the current one on, that meets a condition."""
        feed = self._follow(self._states, self._current(None))
        try:
            while not meets(state := await feed.next()):
                pass
        finally:
            self._states.discard(feed)
        return state

    async def leave(self) -> None:
        """Leave the room. Mutations without an answer are rejected; they may have been applied."""
        if self._uplink.rooms.get(self.name) is self:
            del self._uplink.rooms[self.name]
            if self._uplink.websocket is not None:
                self._uplink.post(encode([wire.LEAVE, self.name]))
            self.membership.end(Refused("left", "the room was left", self.name))

    async def joined(self) -> Self:
        """For `Client.join`: wait for it. Once no task waits any more, the room is left."""
        try:
            await self.until(lambda _: True)
        finally:
            if not (self.membership.known or self._states):
                await self.leave()
        return self

    async def _mutate(self, kind: int, what: Any, more: Any) -> Any:
        if self.membership.error is not None:
            raise self.membership.error
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(result: Any, error: Exception | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        number = self._uplink.number()
        raw = self._uplink.frame(self.name, kind, number, self.name, what, more)
        self.membership.add(Mutation(number, raw, self._uplink.session_id, settle))
        try:
            return await done
        finally:
            self.membership.withdraw(number)  # it is cancelled; else this has no effect

    def _change(self) -> None:
        if self.membership.known and self._states and self.state is not self._shown:
            self._shown = self.state
            for feed in self._states:
                feed.put(self._shown)
        if self.membership.error is not None:
            for feed in self._states:
                feed.end(self.membership.error)
            for other in self._events:
                other.end(self.membership.error)

    def _hear(self, name: str, payload: Any, sender: str) -> None:
        for feed in self._events:
            feed.put((name, payload, sender))

    def _current(self, longest: int | None) -> Feed[State]:
        feed: Feed[State] = Feed(longest)
        if self.membership.known and self.membership.error is None:
            self._shown = self.state
            feed.put(self._shown)
        return feed

    def _follow(self, feeds: Feeds[Item], feed: Feed[Item]) -> Feed[Item]:
        feeds.add(feed)
        if self.membership.error is not None:
            feed.end(self.membership.error)
        return feed

    @staticmethod
    async def _read(feeds: Feeds[Item], feed: Feed[Item]) -> AsyncGenerator[Item, None]:
        try:
            while True:
                yield await feed.next()
        finally:
            feeds.discard(feed)
