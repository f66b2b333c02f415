"""The rooms from server code: handlers, jobs and scripts call, read, watch and message them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple, ParamSpec, TypeVar

from sanic import Request, Sanic

from gospa.action import SERVER, Action, Event, Run, bind_action
from gospa.errors import Invalid, UnknownRoom
from gospa.live import wire
from gospa.live.hub import Hub
from gospa.live.local_room import LocalRoom
from gospa.live.mutations import Mutation, MutationSequence, Outcome
from gospa.room import Room
from gospa.sessions.session import Session
from gospa.sessions.store import SessionStore
from gospa.store.codec import CodecError, unpack_fields
from gospa.store.contract import channel
from gospa.store.draft import StateTooLarge

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
State = Mapping[str, Any]

MEMBERS = "#members"  # ends the name of the room that lists a room's members


def rooms_of(source: Request | Sanic) -> "Rooms":
    """The rooms of an application, or of the one that serves a request.

    Raises RuntimeError if it is neither served nor opened by `open_rooms`.
    """
    app = source.app if isinstance(source, Request) else source
    rooms: Rooms | None = getattr(app.ctx, "rooms", None)
    if rooms is None:
        raise RuntimeError("the application is not running: use `async with open_rooms(app)`")
    return rooms


class Rooms:
    """The rooms of the application, for the application itself.

    Every method raises RoomError if a room refuses, and StoreError if the store fails. Changes by
    the application run like those of members, and share commits with them. After StoreUnavailable
    a change may have been applied: use `once` for one that is repeated then.
    """

    def __init__(self, hub: Hub, sessions: SessionStore) -> None:
        self._hub = hub
        self._sessions = sessions

    async def call(
        self, action: Action[P, R, ...], room: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call an action; returns its result.

        Raises what the action raises. Its member is the application: `member.server` is true.
        """
        result: R = await _run(self._hub, _bound(self._hub, action, room, (args, kwargs)))
        return result

    def once(self, key: str) -> "Once":
        """Calls that are applied once for this key, such as the id of a webhook's event.

        Raises ValueError for an empty key, which would be that of many events.
        """
        if not key:
            raise ValueError("a key of once() may not be empty")
        return Once(self._hub, key)

    async def read(self, kind: type[Room], room: str) -> State:
        """The state that the store holds now, with defaults; it cannot be changed."""
        key, found = _resolve(self._hub, room, kind)
        snapshot = await self._hub.store.load(key)
        return _state(found, snapshot.fields if snapshot else {})

    @asynccontextmanager
    async def watch(self, kind: type[Room], room: str) -> AsyncIterator[AsyncIterator[State]]:
        """Follow a room: `async with rooms.watch(Poll, "poll/lunch") as states`.

        `async for state in states` gives the state now and after changes. States that follow each
        other quickly may be skipped, never the newest. It ends when the worker stops.
        """
        key, found = _resolve(self._hub, room, kind)
        changed = asyncio.Event()
        async with self._hub.hold(key, found) as local:
            local.listeners.add(changed.set)
            try:
                yield _states(local, changed)
            finally:
                local.listeners.discard(changed.set)

    async def send(self, event: Event[T], room: str, payload: T) -> None:
        """Send an event to those who are in a room now, on all workers. Its sender is ""."""
        await _send(self._hub, event, room, payload)

    async def members(self, room: str) -> State:
        """The list of a room's members: entries by member id. Clients are in it that joined it.

        Raises UnknownRoom if the room keeps no list.
        """
        _, found = _resolve(self._hub, room, Room)
        try:
            return await self.read(Room, room + MEMBERS)
        except UnknownRoom:
            raise UnknownRoom(
                f"{room} keeps no list of members: set presence = True in "
                f"{type(found).__name__}, and name the extra presence in app.py"
            ) from None

    async def kick(self, room: str, *, user: str | None = None, member: str | None = None) -> None:
        """Remove the members of a user, or the one with this id; without either, everybody.

        They may join again if `authorize` allows it, which is asked about who is joining just now,
        too: so first record whom it is to refuse.
        """
        key, _ = _resolve(self._hub, room, Room)
        for each in (key, key + MEMBERS):  # some may be in the list alone
            await self._hub.pubsub.publish(channel(each), wire.kick(user, member))

    async def delete(self, room: str) -> None:
        """Delete a room's state: members see the defaults. Keys of `once` stay used."""
        key, _ = _resolve(self._hub, room, Room)
        await self._hub.store.delete(key)

    async def names(self, prefix: str = "") -> AsyncIterator[str]:
        """The names of stored rooms that begin with a prefix, in no order. One may come twice.

        Private rooms and lists of members are left out.
        """
        async for name in self._hub.store.names():
            if name.startswith(prefix) and not {"@", "#"}.intersection(name):
                yield name

    def for_user(self, user: str) -> "UserRooms":
        """The private rooms of a user, in all sessions of the user."""
        return UserRooms(self._hub, self._sessions, user)


class Once:
    """Calls that are applied once for a key, in each room and for each action.

    The key is remembered for `GOSPA_ONCE_TTL`, also by calls that changed nothing; a call that is
    refused or fails leaves no trace.
    """

    def __init__(self, hub: Hub, key: str) -> None:
        self._hub = hub
        self._key = key

    async def call(
        self, action: Action[P, R, ...], room: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R | None:
        """Call an action; returns its result, or None if it was applied before."""
        digest = hashlib.blake2b(f"{action.name} {self._key}".encode(), digest_size=16).hexdigest()
        ttl = self._hub.settings.once_ttl
        sequence = MutationSequence(f"once:{digest}", ttl, record_refusals=False)
        bound = _bound(self._hub, action, room, (args, kwargs))
        result: R | None = await _run(self._hub, bound, sequence)
        return result


class UserRooms:
    """The private rooms of a user: each session of the user has its own."""

    def __init__(self, hub: Hub, sessions: SessionStore, user: str) -> None:
        self._hub = hub
        self._sessions = sessions
        self._user = user

    async def call(
        self, action: Action[P, R, ...], room: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> list[R]:
        """Call an action in the room of each session; returns the results."""
        sessions = await self._sessions.sessions_of(self._user)
        given = (args, kwargs)
        calls = [_bound(self._hub, action, room, given, session) for session in sessions]
        return [await _run(self._hub, bound) for bound in calls]

    async def send(self, event: Event[T], room: str, payload: T) -> None:
        """Send an event to all connections of the user that are in the room."""
        for session in await self._sessions.sessions_of(self._user):
            await _send(self._hub, event, room, payload, session)


class _Call(NamedTuple):
    """An action of a room with its arguments."""

    key: str
    room: Room
    run: Run


def _bound(
    hub: Hub,
    action: Action[..., Any, ...],
    name: str,
    given: tuple[tuple[Any, ...], Mapping[str, Any]],
    session: Session | None = None,
) -> _Call:
    if not isinstance(action, Action):
        raise TypeError(f"name an action by its class, such as Poll.vote, not {action!r:.60}")
    key, room = _resolve(hub, name, action.owner, session)
    return _Call(key, room, bind_action(room, action.name, SERVER, action.named(*given)))


async def _run(hub: Hub, call: _Call, sequence: MutationSequence | None = None) -> Any:
    """Run a call in the room's queue; returns its result, or raises its error."""
    ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def end(outcome: Outcome) -> None:
        if not ended.done():  # else the caller gave up
            ended.set_result(outcome)

    async with hub.hold(call.key, call.room) as local:
        local.mutations.submit(Mutation(sequence, 1, call.run, end))
        outcome = await ended
    if isinstance(outcome, CodecError | StateTooLarge):
        raise Invalid(str(outcome)) from outcome
    if isinstance(outcome, Exception):
        raise outcome
    return outcome.result


async def _send(
    hub: Hub, event: Event[Any], room: str, payload: object, session: Session | None = None
) -> None:
    key, found = _resolve(hub, room, event.owner, session)
    message = wire.event(found.name, event.name, event.payload(payload), "")
    await hub.pubsub.publish(channel(key), message)


def _resolve(hub: Hub, name: str, kind: type, session: Session | None = None) -> tuple[str, Room]:
    """A room of this kind; the private one of a session if that is given."""
    key, found = hub.router.resolve(name, session)
    if not isinstance(found, kind):
        raise UnknownRoom(f"{name} is a {type(found).__name__}, not a {kind.__name__}")
    if session is not None and not found.private:
        raise Invalid(f"{name} is one room for everybody: for_user() is for private rooms")
    return key, found


def _state(room: Room, fields: Mapping[str, bytes]) -> State:
    return MappingProxyType(unpack_fields({**room.initial_fields, **fields}))


async def _states(local: LocalRoom, changed: asyncio.Event) -> AsyncIterator[State]:
    shown = None
    while not local.closed:
        changed.clear()
        snapshot = local.replica.snapshot
        if snapshot.tag != shown:
            shown = snapshot.tag
            yield _state(local.room, snapshot.fields)
        else:
            await changed.wait()
