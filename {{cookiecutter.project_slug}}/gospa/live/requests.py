"""One client's requests: its rooms, and what it asks for there, in its order."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol

from sanic.log import logger

from gospa import tasks
from gospa.errors import StoreError, StoreUnavailable
from gospa.extras import json_logs
from gospa.live import wire
from gospa.live.hub import Hub
from gospa.live.local_room import LocalRoom
from gospa.live.mutations import Lane, Mutation
from gospa.live.presence import member_id
from gospa.live.refusal import refusal
from gospa.live.writer import Outbox
from gospa.room import Draft, Invalid, NotJoined, Room, RoomError
from gospa.sessions.session import Session

BACKLOG = 64  # requests in progress, above which nothing more is read from the client


class Peer(Protocol):
    """The connection that the requests came by."""

    outbox: Outbox
    context: Context

    def send(self, message: bytes) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    def regulate(self) -> None:
        """Read from the client again, or no more: `Requests.full` may have changed."""


class Requests:
    """Answers each request, at once if it needs no store.

    While a JOIN or a SEND waits for the store, what the client asks next waits too, so that order
    is kept.
    """

    def __init__(self, hub: Hub, session: Session, peer: Peer) -> None:
        self._hub = hub
        self._session = session
        self._peer = peer
        self._client: bytes | None = None
        self._member = ""
        self._rooms: dict[str, LocalRoom] = {}
        self._lanes: defaultdict[str, Lane] = defaultdict(Lane)
        self._backlog: list[wire.Request] = []  # short; a deque takes 600 bytes when empty
        self._current: asyncio.Task[None] | None = None
        self._unanswered = 0
        self.stopped = False
        self._used = False
        self.on_use = _nothing

    @property
    def greeted(self) -> bool:
        """Whether the client has said HELLO."""
        return self._client is not None

    @property
    def full(self) -> bool:
        """Whether so much is in progress that no more should come."""
        return self._unanswered + len(self._backlog) > BACKLOG

    def take(self, request: wire.Request) -> None:
        """Handle a request now, or when those before it are done and the client takes answers."""
        if isinstance(request, wire.Hello) is self.greeted:
            self._peer.close(wire.CLOSE_NO_HELLO, "HELLO comes first, and once")
        elif self._current or self._peer.outbox.full_since is not None:
            self._backlog.append(request)
            self._peer.regulate()
        else:
            self._handle(request)

    def go_on(self) -> None:
        """Handle what waits, as long as the client takes the answers."""
        while self._backlog and not self._current and self._peer.outbox.full_since is None:
            self._handle(self._backlog.pop(0))
        self._peer.regulate()

    def stop(self) -> None:
        """Do no more for this client."""
        self.stopped = True
        if self._current:
            self._current.cancel()
        self._backlog.clear()
        for name in list(self._rooms):
            self._leave(name)

    # For who watches the session

    def take_used(self) -> bool:
        """Whether there were any since this was asked last."""
        used, self._used = self._used, False
        return used

    async def follow_session(self, session: Session | None) -> None:
        """The session as it is stored now; None if it ended."""
        if session is None:
            self._peer.close(wire.CLOSE_SESSION_ENDED, "the session ended")
        elif session.access.token != self._session.access.token:
            self._peer.close(wire.CLOSE_SESSION_CHANGED, "the session has a new token")
        else:
            self._session = session
            for local in list(self._rooms.values()):
                await self._ask_again(local.room, session)

    async def _ask_again(self, room: Room, session: Session) -> None:
        try:
            if not await room.authorize(session):
                reason = f"you may no longer be in {room.name}"
                self._peer.close(wire.CLOSE_SESSION_CHANGED, reason)
        except Exception:  # it has not said no
            logger.exception("who may stay in room %s is unknown", room.name)

    # Requests of each kind

    def _handle(self, request: wire.Request) -> None:
        if not isinstance(request, wire.Hello | wire.Ping):
            self._used, on_use, self.on_use = True, self.on_use, _nothing
            on_use()
        match request:
            case wire.Hello():
                self._client, self._member = request.client, member_id(request.client)
                self._peer.context.run(json_logs.CONNECTION.set, self._member)
                self._peer.send(wire.welcome(self._member, self._hub.server))
            case wire.Ping():
                self._peer.send(wire.pong())
            case wire.Join():
                self._begin(self._join(request))
            case wire.Leave():
                self._leave(request.room)
            case wire.Call() | wire.Write():
                self._mutate(request)
            case wire.Send():
                self._begin(self._send_event(request))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._current = self._peer.context.run(tasks.start, work, f"request of {self._member}")
        self._current.add_done_callback(self._end)

    def _end(self, _: asyncio.Task[None]) -> None:
        self._current = None
        self.go_on()

    async def _join(self, request: wire.Join) -> None:
        name = request.room
        try:
            local = self._rooms.get(name) or await self._enter(name)
            if self.stopped:
                return  # `authorize` had lost the cancellation
            if local.attendance:
                local.attendance.enter(self._member, self, request.details)
            self._rooms[name] = local  # only now: one that was refused may be closed
            local.join(self._peer.outbox, request.tag)
        except Exception as error:  # noqa: BLE001 - also what a room's `authorize` raises
            self._peer.send(refusal(error, name))

    async def _enter(self, name: str) -> LocalRoom:
        if len(self._rooms) >= self._hub.settings.rooms_per_connection:
            raise Invalid("this connection is in too many rooms")
        return await self._hub.enter(name, self._session)

    def _leave(self, name: str) -> None:
        local = self._rooms.pop(name, None)
        self._lanes.pop(name, None)
        if local is not None:
            local.fanout.remove(self._peer.outbox)
            if local.attendance and not self._hub.draining:  # else it will be back elsewhere
                local.attendance.leave(self._member, self)

    def _mutate(self, request: wire.Call | wire.Write) -> None:
        assert self._client is not None  # noqa: S101 - HELLO came first
        try:
            local = self._joined(request.room)
            run = self._bind(local.room, request)
        except (RoomError, StoreUnavailable) as error:
            if isinstance(error, RoomError) and request.room in self._rooms:
                self._lanes[request.room].refused.append(request.mutation)
            self._peer.send(refusal(error, request.room, request.mutation))
            return
        self._unanswered += 1
        self._peer.regulate()
        lane, context = self._lanes[request.room], self._peer.context
        mutation = Mutation(self._client, request.mutation, lane, run, self._answer, context)
        local.mutations.submit(mutation)

    def _bind(self, room: Room, request: wire.Call | wire.Write) -> Callable[[Draft], Any]:
        if self._hub.draining:
            raise StoreUnavailable("this worker stops")
        if isinstance(request, wire.Call):
            return room.bind_action(request.action, self._session, request.args)
        return room.bind_write(request.set, request.delete)

    def _answer(self, message: bytes) -> None:
        self._unanswered -= 1
        self._peer.send(message)
        self._peer.regulate()

    async def _send_event(self, request: wire.Send) -> None:
        try:
            local = self._joined(request.room)
            if request.event not in local.room.events:
                raise Invalid(f"{request.room} has no event {request.event!r:.60}")
            await local.send_event(request.event, request.payload, self._member)
        except (RoomError, StoreError) as error:
            self._peer.send(refusal(error, request.room))

    def _joined(self, name: str) -> LocalRoom:
        local = self._rooms.get(name)
        if local is None:
            raise NotJoined(f"join {name!r:.60} first")
        return local


def _nothing() -> None:
    pass
