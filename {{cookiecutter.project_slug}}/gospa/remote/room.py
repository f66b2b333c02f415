"""A joined room, for Python programs."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping, MutableMapping
from typing import Any, NamedTuple, Self, TypeAlias

from websockets.exceptions import ConnectionClosed

from gospa.live import wire
from gospa.remote.commands import Command
from gospa.remote.errors import Refused
from gospa.remote.feed import Feed, Feeds, Item, read
from gospa.remote.membership import Membership, Mutation
from gospa.remote.uplink import Uplink, checked
from gospa.store.codec import encode

EVENTS = 1024  # events kept for an iterator that is behind
UNREAD = 100  # events of a room kept for `next_event`
State: TypeAlias = Mapping[str, Any]


class Event(NamedTuple):
    """An event of a room.

    `sender` is None for the application, else a map: `id`, the sender's `Client.member`; `user`,
    or None without a log-in; and `info`, the result of the room's `introduce` for the sender.
    """

    name: str
    payload: Any
    sender: Mapping[str, Any] | None


class ClientRoom:
    """A joined room. After its end, its methods raise Refused (also after `leave`) or Closed."""

    def __init__(
        self, membership: Membership, uplink: Uplink, rooms: MutableMapping[str, Self]
    ) -> None:
        """`rooms` are the client's, by name."""
        self.membership = membership  # for the client
        self._uplink, self._rooms = uplink, rooms
        self._shown: State | None = None
        self._states: Feeds[State] = set()
        self._unread: Feed[Event] = Feed(UNREAD)
        self._events: Feeds[Event] = {self._unread}
        membership.on_change, membership.on_event = self._change, self._hear

    @property
    def name(self) -> str:
        return self.membership.name

    @property
    def state(self) -> State:
        """The newest confirmed state, over the room's defaults: empty once access was lost.

        It maps fields to values, and collections to read-only maps of items, in the order of their
        ids. Do not change the values in it.
        """
        return self.membership.state

    @property
    def access(self) -> str:
        """What the client may do: `full`, or `read` for no actions, commands, writes and events."""
        return self.membership.access

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

        Returns its result once `state` contains its effect, or the room ended after the server had
        acknowledged it; None if the answer to the first try was lost. Mutations of a room are
        applied in the order in which they were started. If this is cancelled, a mutation that was
        sent already may still be applied. Raises Refused or Closed.
        """
        return await self._mutate(wire.CALL, checked(action), args)

    async def set(self, field: str, value: Any) -> None:
        """Set a field that the room lets members write, as `call` does."""
        await self._mutate(wire.WRITE, {field: value}, [])

    async def delete(self, field: str) -> None:
        """Reset such a field to its default, as `call` does."""
        await self._mutate(wire.WRITE, {}, [field])

    async def run(self, command: str, /, **args: Any) -> Any:
        """Run a command, at least once, over any number of connections; returns its result.

        Commands wait for no other requests, and no others wait for them. If this is cancelled, a
        command that was sent already may still run. Raises Refused or Closed.
        """
        if self.membership.error is not None:
            raise self.membership.error
        done, settle = _outcome()
        id_ = os.urandom(16)
        raw = self._uplink.frame(self.name, wire.RUN, id_, self.name, checked(command), args)
        self.membership.commands.add(Command(id_, raw, self._uplink.session_id, settle))
        try:
            async with asyncio.timeout(self._uplink.patience):
                return await done
        finally:
            self.membership.commands.withdraw(id_)  # it is cancelled; else this has no effect

    async def send(self, event: str, payload: Any = None) -> bool:
        """Send an event to all current members, at most once.

        Returns whether it was sent: not while disconnected. The server does not acknowledge events;
        if it refuses one, that is logged. Raises Refused or Closed.
        """
        raw = self._uplink.frame(self.name, wire.SEND, self.name, checked(event), payload)
        if self.membership.error is not None:
            raise self.membership.error
        if self.access != "full":
            raise Refused("unauthorized", "you may only read the room", self.name)
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
        return read(self._events, self._follow(self._events, Feed(EVENTS)))

    async def next_event(self, name: str) -> Event:
        """Return the oldest event of this name that this method has not returned before.

        It waits for one. Of the events that it has not returned, the last 100 are kept.
        """
        try:
            async with asyncio.timeout(self._uplink.patience):
                return await self._unread.next(lambda event: event.name == name)
        except TimeoutError as error:
            raise TimeoutError(f"{self.name}: no event {name!r} arrived") from error

    def changes(self) -> AsyncGenerator[State, None]:
        """Yield the current state, then the newest after each change; slow readers skip some."""
        return read(self._states, self._follow(self._states, self._current(1)))

    async def until(self, meets: Callable[[State], bool]) -> State:
        """Return the first state, from the current one on, that meets a condition."""
        feed = self._follow(self._states, self._current(None))
        try:
            async with asyncio.timeout(self._uplink.patience):
                while not meets(state := await feed.next()):
                    pass
        except TimeoutError as error:
            missed = "no state met the condition" if self.membership.known else "not joined"
            raise TimeoutError(f"{self.name}: {missed}; the state is {dict(self.state)}") from error
        finally:
            self._states.discard(feed)
        return state

    async def leave(self) -> None:
        """Leave the room. Mutations without an answer are rejected; they may have been applied."""
        if self._rooms.get(self.name) is self:
            del self._rooms[self.name]
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
        done, settle = _outcome()
        number = self._uplink.number()
        raw = self._uplink.frame(self.name, kind, number, self.name, what, more)
        self.membership.add(Mutation(number, raw, self._uplink.session_id, settle))
        try:
            async with asyncio.timeout(self._uplink.patience):
                return await done
        finally:
            self.membership.withdraw(number)  # it is cancelled; else this has no effect

    def _change(self) -> None:
        if (error := self.membership.error) is not None:
            for feed in self._states:
                feed.end(error)
            for other in self._events:
                other.end(error)
        elif self.membership.known and self._states and self.state is not self._shown:
            self._shown = self.state
            for feed in self._states:
                feed.put(self._shown)

    def _hear(self, name: str, payload: Any, sender: Mapping[str, Any] | None) -> None:
        for feed in self._events:
            feed.put(Event(name, payload, sender))

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


def _outcome() -> tuple[asyncio.Future[Any], Callable[[Any, Exception | None], None]]:
    """A future, and a function that settles it with a result or an error, if somebody waits."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(result: Any, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    return done, settle
