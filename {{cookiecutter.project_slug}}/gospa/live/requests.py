"""One client's requests, in order, and the rooms it has joined."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from dataclasses import replace
from functools import partial
from typing import Any

from sanic.log import logger

from gospa import tasks
from gospa.action import Member, Run, bind_action, bind_write, find_event
from gospa.errors import (
    Invalid,
    NotJoined,
    RoomError,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from gospa.live import wire
from gospa.live.hub import Hub
from gospa.live.local_room import LocalRoom
from gospa.live.mutations import Applied, Mutation, MutationSequence, Outcome
from gospa.live.writer import Writer
from gospa.room import Room
from gospa.sessions.session import Session
from gospa.store.codec import CodecError, pack
from gospa.store.draft import StateTooLarge

BACKLOG = 64  # requests in progress, above which nothing more is read from the client
CONNECTION_ID: ContextVar[str | None] = ContextVar("connection_id", default=None)


class Requests:
    """Answers each request, at once if it needs no store.

    While a JOIN or a SEND waits for the store, the client's next requests wait too, so that they
    keep their order.
    """

    def __init__(
        self,
        hub: Hub,
        session: Session,
        writer: Writer,
        close: Callable[[wire.Close, str], None],
        regulate: Callable[[], None],
    ) -> None:
        """`close` ends the connection; `regulate` has it read `full` again."""
        self._hub = hub
        self._session = session
        self._writer = writer
        self._close = close
        self._regulate = regulate
        self.context = Context()  # its own, because that of the handshake holds the request
        self._client: bytes | None = None
        self.member = Member(session=session)
        self._rooms: dict[str, LocalRoom] = {}
        self._sequences: dict[str, MutationSequence] = {}
        self._backlog: list[wire.Request] = []  # short; an empty deque takes 600 bytes
        self._current: asyncio.Task[None] | None = None
        self._unanswered = 0
        self.stopped = False
        self._used = False
        self.on_first_use: Callable[[], None] | None = None

    @property
    def greeted(self) -> bool:
        """Whether the client has sent HELLO."""
        return self._client is not None

    @property
    def full(self) -> bool:
        """Whether so many requests are in progress that nothing more should be read."""
        return self._unanswered + len(self._backlog) > BACKLOG

    def receive(self, request: wire.Request) -> None:
        """Handle a request, after those before it and while the client reads answers."""
        if isinstance(request, wire.Hello) is self.greeted:
            self._close(wire.NO_HELLO, "")
        elif self._current or self._writer.full_since is not None:
            self._backlog.append(request)
            self._regulate()
        else:
            self._handle(request)

    def go_on(self) -> None:
        """Handle waiting requests as long as the client reads the answers."""
        while self._backlog and not self._current and self._writer.full_since is None:
            self._handle(self._backlog.pop(0))
        self._regulate()

    def stop(self) -> None:
        """Do nothing more for this client."""
        self.stopped = True
        if self._current:
            self._current.cancel()
        self._backlog.clear()
        for name in list(self._rooms):
            self._leave(name)

    # For the watch of its session

    def take_used(self) -> bool:
        """Whether the client sent a request since the last call."""
        used, self._used = self._used, False
        return used

    async def follow_session(self, session: Session | None) -> None:
        """Act on the session as it is stored now; None if it ended."""
        if session is None:
            self._close(wire.SESSION_ENDED, "")
        elif session.access.token != self._session.access.token:
            self._close(wire.NEW_TOKEN, "")
        else:
            self._session = session
            self.member = replace(self.member, session=session)
            for local in list(self._rooms.values()):
                await self._authorize_again(local.room, session)

    async def _authorize_again(self, room: Room, session: Session) -> None:
        try:
            if not await room.authorize(session):
                self._close(wire.ACCESS_LOST, room.name)
        except Exception:  # no answer is not a refusal
            logger.exception("authorize() of room %s failed; the member stays", room.name)

    def kick(self, room: str) -> None:
        """Remove the client from a room and its list of members, and tell it."""
        base = room.partition("#")[0]
        for name in [each for each in self._rooms if each.partition("#")[0] == base]:
            self._leave(name)
            text = "you were removed from this room"
            self._writer.send(wire.error("kicked", text, room=name))

    # Requests of each kind

    def _handle(self, request: wire.Request) -> None:
        if not isinstance(request, wire.Hello | wire.Ping):
            self._used = True
            if self.on_first_use is not None:
                self.on_first_use()
                self.on_first_use = None
        match request:
            case wire.Call() | wire.Write():
                self._mutate(request)
            case wire.Ping():
                self._writer.send(wire.pong())
            case wire.Hello():
                self._client = request.client
                self.member = Member(member_id(request.client), self._session)
                self.context.run(CONNECTION_ID.set, self.member.id)
                session = {"id": public_id(self._session), "user": self._session.user}
                self._writer.send(wire.welcome(self.member.id, self._hub.server, session))
            case wire.Join():
                self._begin(self._join(request))
            case wire.Leave():
                self._leave(request.room)
            case wire.Send():
                self._begin(self._send_event(request))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a request that waits for the store; later requests wait for its end."""
        name = f"request of {self.member.id}"
        self._current = self.context.run(tasks.start, work, name)
        self._current.add_done_callback(self._end)

    def _end(self, _: asyncio.Task[None]) -> None:
        self._current = None
        self.go_on()

    async def _join(self, request: wire.Join) -> None:
        name = request.room
        try:
            version, joined = request.version or 0, self._rooms.get(name)
            if joined is not None:
                await joined.catch_up(version, request.tag)
            if joined is not None and name not in self._rooms:
                return  # it was kicked meanwhile
            local = joined or await self._enter(name, version, request.tag)
            if self.stopped:
                return  # `authorize` had swallowed the cancellation
            if local.members:
                local.members.enter(self.member.id, self, request.details)
            self._rooms[name] = local  # only now: a room that was refused may be closed
            local.join(self, self._writer, request.tag)
        except Exception as error:  # noqa: BLE001 - also what a room's `authorize` raises
            self._writer.send(error_message(error, name))

    async def _enter(self, name: str, version: int, tag: bytes | None) -> LocalRoom:
        if len(self._rooms) >= self._hub.settings.rooms_per_connection:
            raise Invalid("this connection is in too many rooms")
        return await self._hub.enter(name, self._session, version, tag)

    def _leave(self, name: str) -> None:
        local = self._rooms.pop(name, None)
        self._sequences.pop(name, None)
        if local is not None:
            local.leave(self._writer)
            if local.members and not self._hub.draining:  # else the client reconnects elsewhere
                local.members.leave(self.member.id, self)

    def _mutate(self, request: wire.Call | wire.Write) -> None:
        name, number = request.room, request.mutation
        try:
            local = self._joined(name)
            run = self._bind(local.room, request)
        except (RoomError, StoreUnavailable) as error:
            if isinstance(error, RoomError) and name in self._rooms:
                self._sequence(name).refused.append(number)
            self._writer.send(error_message(error, name, number))
            return
        self._unanswered += 1
        self._regulate()
        sequence, done = self._sequence(name), partial(self._answer, name, number)
        local.mutations.submit(Mutation(sequence, number, run, done, self.context))

    def _sequence(self, room: str) -> MutationSequence:
        if room not in self._sequences:
            assert self._client is not None  # noqa: S101 - HELLO came first
            source = source_of(self._client, self._session)
            ttl = self._hub.settings.mutation_ttl
            self._sequences[room] = MutationSequence(source, ttl)
        return self._sequences[room]

    def _bind(self, room: Room, request: wire.Call | wire.Write) -> Run:
        if self._hub.draining:
            raise StoreUnavailable("this worker stops")
        if isinstance(request, wire.Call):
            return bind_action(room, request.action, self.member, request.args)
        return bind_write(room, request.set, request.delete)

    def _answer(self, room: str, number: int, outcome: Outcome) -> None:
        self._unanswered -= 1
        if isinstance(outcome, Applied):
            self._writer.send(wire.ack(number, outcome.version, outcome.result))
        else:
            self._writer.send(error_message(outcome, room, number))
        self._regulate()

    async def _send_event(self, request: wire.Send) -> None:
        try:
            local = self._joined(request.room)
            event = find_event(local.room, request.event, self.member)
            payload = event.payload(request.payload)
            await local.send_event(event.name, payload, self.member.id)
        except (RoomError, StoreError) as error:
            self._writer.send(error_message(error, request.room))

    def _joined(self, name: str) -> LocalRoom:
        local = self._rooms.get(name)
        if local is None:
            raise NotJoined(f"join {name!r:.60} first")
        return local


def member_id(client: bytes) -> str:
    """The id under which others see a client; it stays the same when the client reconnects.

    A digest, because the client's own id would let others send mutations in its name.
    """
    return hashlib.sha256(client).hexdigest()[:16]


def public_id(session: Session) -> str:
    """The id of a session and its user for its own clients, who repeat nothing under another one.

    A digest, because a private room's key has the identity itself.
    """
    return hashlib.sha256(b"session" + pack([session.identity, session.user])).hexdigest()[:16]


def source_of(client: bytes, session: Session) -> str:
    """The name in the store of a client in its session: what another session sends is not its."""
    digest = hashlib.blake2b(client + session.identity.encode(), digest_size=16)
    return f"client:{digest.hexdigest()}"


def error_message(error: Exception, room: str, mutation: int | None = None) -> bytes:
    """The ERROR for a request that failed. An error of the application is logged, not sent."""
    match error:
        case RoomError():
            code, text = error.code, str(error)
        case CodecError() | StateTooLarge():
            code, text = "invalid", str(error)
        case StoreUnavailable():
            logger.debug("a request to room %s has to be repeated: %s", room, error)
            code, text = "unavailable", "the store is unavailable; send it again"
        case StoreFull():
            code, text = "store_full", "the store is full"
        case _:
            logger.error("a request to room %s failed", room, exc_info=error)
            code, text = "internal", "the request failed; the server's log says why"
    text = text.encode(errors="replace").decode()  # an action's reason may not be Unicode
    return wire.error(code, text, mutation=mutation, room=room)
