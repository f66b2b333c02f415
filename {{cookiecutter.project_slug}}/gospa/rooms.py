"""Rooms from server code: handlers, jobs and scripts call, read, watch and message them."""

import asyncio
import hashlib
import secrets
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

from sanic import Request, Sanic

from gospa.action import Action, Event
from gospa.command import Command
from gospa.errors import Invalid, UnknownRoom
from gospa.live import calls, wire
from gospa.live.hub import Hub
from gospa.live.sequence import MutationSequence
from gospa.room import Room
from gospa.sessions.session import Session, session_for
from gospa.sessions.store import SessionStore
from gospa.state import State
from gospa.store.contract import channel
from gospa.visitor_rooms import VisitorRooms

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=State)
T = TypeVar("T")

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
        result: R = await calls.run_call(
            self._hub, calls.bound(self._hub, action, room, (args, kwargs))
        )
        return result

    async def run(
        self, command: Command[P, R, ...], room: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command; returns its result. Raises what the command raises.

        Its caller is the application: `caller.user` is None.
        """
        id, ttl = secrets.token_hex(16), self._hub.settings.mutation_ttl
        result: R = await calls.run_named(self._hub, command, room, (args, kwargs), id, ttl)
        return result

    def once(self, key: str) -> "Once":
        """Calls that are applied once for this key, such as the id of a webhook's event.

        Raises ValueError for an empty key, which different events would share.
        """
        if not key:
            raise ValueError("a key of once() may not be empty")
        return Once(self._hub, key)

    async def read(self, kind: type[Room[S]], room: str) -> S:
        """The state in the store, with defaults. `authorize` is not called.

        Its fields are read-only. Changes inside a value, such as a Struct, are not stored.
        """
        state: S = await calls.read(self._hub, *calls.resolve(self._hub, room, kind))
        return state

    @asynccontextmanager
    async def watch(self, kind: type[Room[S]], room: str) -> AsyncIterator[AsyncIterator[S]]:
        """Follow a room: `async with rooms.watch(Poll, "poll/lunch") as states`.

        `async for state in states` yields the current state, and the state after changes. States in
        quick succession may be skipped, but not the newest. It ends when the worker stops.
        """
        key, found = calls.resolve(self._hub, room, kind)
        changed = asyncio.Event()
        async with self._hub.hold(key, found) as local:
            local.listeners.add(changed.set)
            try:
                yield calls.states(local, changed)
            finally:
                local.listeners.discard(changed.set)

    async def send(self, event: Event[T], room: str, payload: T) -> None:
        """Send an event to the current members of a room, on all workers. It has no sender."""
        await calls.send(self._hub, event, *calls.resolve(self._hub, room, event.owner), payload)

    async def members(self, room: str) -> Any:
        """The list of a room's members, `count` and `people`: of clients that joined the list.

        Raises UnknownRoom if the room keeps no list.
        """
        _, found = calls.resolve(self._hub, room, Room)
        try:
            return await self.read(Room, room + MEMBERS)
        except UnknownRoom:
            raise UnknownRoom(
                f"{room} keeps no list of members: set presence = True in "
                f"{type(found).__name__}, and name the extra presence in app.py"
            ) from None

    async def kick(self, room: str, *, user: str | None = None, member: str | None = None) -> None:
        """Remove the members of a user, or the one with this id; without either, everybody.

        They may join again if `authorize` allows it, so first record whom it has to refuse. It is
        called again for clients that are just joining.
        """
        await self._notify(room, wire.KICK, user, member)

    async def reauthorize(self, room: str, *, user: str | None = None) -> None:
        """Call `authorize` again at once for the members of a user, or for everybody.

        Members who lost access get an error and leave this room only.
        """
        await self._notify(room, wire.REAUTHORIZE, user)

    async def delete(self, room: str) -> None:
        """Delete a room's state: members see the defaults, or the result of `load`.

        Its idempotency keys (`once`) are kept.
        """
        key, _ = calls.resolve(self._hub, room, Room)
        await self._hub.store.delete(key)

    async def names(self, prefix: str = "") -> AsyncIterator[str]:
        """The names of stored rooms that begin with a prefix, in no order. One may come twice.

        Rooms of a session or user, and lists of members, are left out.
        """
        wanted = unicodedata.normalize("NFC", prefix)
        async for name in self._hub.store.names():
            if name.startswith(wanted) and not {"@", "#"}.intersection(name):
                yield name

    def for_user(self, user: str) -> "UserRooms":
        """The private rooms of a user: one for the user, or one in each session of the user.

        The `scope` of the room's class decides; UserRooms raises Invalid for a shared room.
        """
        return UserRooms(self._hub, self._sessions, unicodedata.normalize("NFC", user))

    def for_visitor(self, session: Session, address: str) -> VisitorRooms:
        """The rooms with the access and limits of a session, used from this address."""
        return VisitorRooms(self._hub, session, address)

    async def _notify(
        self, room: str, kind: int, user: str | None, member: str | None = None
    ) -> None:
        key, _ = calls.resolve(self._hub, room, Room)
        name = None if user is None else unicodedata.normalize("NFC", user)
        for each in (key, key + MEMBERS):  # some may only be in the list
            await self._hub.pubsub.publish(channel(each), wire.notice(kind, name, member))


class Once:
    """Calls that are applied once for a key, in each room and for each action.

    The key is stored for `GOSPA_ONCE_TTL`, also if the call changed nothing, but not if the call is
    refused or fails.
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
        call = calls.bound(self._hub, action, room, (args, kwargs))
        result: R | None = await calls.run_call(self._hub, call, sequence)
        return result

    async def run(
        self, command: Command[P, R, ...], room: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command under this key; if it runs again, each of its changes is applied once."""
        id = hashlib.blake2b(f"{command.name} {self._key}".encode(), digest_size=16).hexdigest()
        ttl = self._hub.settings.once_ttl
        result: R = await calls.run_named(self._hub, command, room, (args, kwargs), id, ttl)
        return result


class UserRooms:
    """The private rooms of a user.

    A room with the scope "user" exists once for all devices of the user, one with the scope
    "session" in each session.
    """

    def __init__(self, hub: Hub, sessions: SessionStore, user: str) -> None:
        self._hub = hub
        self._sessions = sessions
        self._user = user

    async def call(
        self, action: Action[P, R, ...], room: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> list[R]:
        """Call an action in each of the rooms; returns the results."""
        given = (args, kwargs)
        places = await self._places(room, action.owner)
        return [
            await calls.run_call(self._hub, calls.bound_at(place, action, given))
            for place in places
        ]

    async def read(self, kind: type[Room[S]], room: str) -> list[S]:
        """The state of each of the rooms: none for the scope "session" without a session."""
        places = await self._places(room, kind)
        return [await calls.read(self._hub, *place) for place in places]

    async def send(self, event: Event[T], room: str, payload: T) -> None:
        """Send an event to all connections of the user that are in the room."""
        for key, found in await self._places(room, event.owner):
            await calls.send(self._hub, event, key, found, payload)

    async def _places(self, name: str, kind: type) -> list[tuple[str, Room[Any]]]:
        router = self._hub.router
        sessions = [session_for(self._user)]
        _, found = router.resolve(name, sessions[0])
        if found.scope == "shared":
            raise Invalid(f"{name} is one room for everybody: for_user() needs another `scope`")
        if found.scope == "session":
            sessions = await self._sessions.sessions_of(self._user)
        return [calls.of_kind(router.resolve(name, session), name, kind) for session in sessions]
