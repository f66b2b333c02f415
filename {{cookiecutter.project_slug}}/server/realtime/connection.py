"""One client's WebSocket: frames in, checked where they arrive; answers and news out."""

import asyncio
import contextvars
import os
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any

from sanic.log import logger
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from server import background, logs
from server.errors import StoreError, StoreUnavailable
from server.realtime import wire
from server.realtime.bucket import TokenBucket
from server.realtime.hub import Hub
from server.realtime.local_room import LocalRoom
from server.realtime.mutations import Lane, Mutation
from server.realtime.outbox import Outbox
from server.realtime.presence import member_id
from server.realtime.refusal import refusal
from server.realtime.room import Invalid, NotJoined, Room, RoomError
from server.sessions.session import Session

BACKLOG = 64  # requests in progress, above which nothing more is read from the client
SLICE = 4096  # bytes parsed at a time: of the smallest frames they hold some hundreds


class Connection(asyncio.Protocol):
    """Speaks `gospa.v1` with one client.

    Requests that need no store are answered inside `data_received`. While a JOIN or a SEND waits
    for the store, what the client asks next waits too, so that order is kept.
    """

    def __init__(
        self,
        hub: Hub,
        session: Session,
        transport: asyncio.Transport,
        protocol: ServerProtocol,
        http: asyncio.Protocol,
    ) -> None:
        self._hub = hub
        self._session = session
        self._transport = transport
        self._protocol = protocol
        self._http = http
        self._loop = asyncio.get_running_loop()
        self._heard = self._opened = self._loop.time()
        self._bytes = TokenBucket(hub.settings.bytes_per_second, self._opened)
        self._frames = TokenBucket(hub.settings.frames_per_second, self._opened)
        self._pinged = False
        self._flooding = False
        self._leaving = False
        self._stopped = False
        self._used = False
        self.on_use = _nothing
        self._client: bytes | None = None
        self._fragments = bytearray()
        self._rooms: dict[str, LocalRoom] = {}
        self._lanes: defaultdict[str, Lane] = defaultdict(Lane)
        self._backlog: list[wire.Request] = []  # short; a deque takes 600 bytes when empty
        self._current: asyncio.Task[None] | None = None
        self._unanswered = 0
        self.id = os.urandom(8).hex()
        self.outbox = Outbox(transport, hub.counters)
        logs.CONNECTION.set(self.id)
        self._context = contextvars.copy_context()  # with the ids that logs tell
        self.closed: asyncio.Future[None] = self._loop.create_future()
        hub.connections.add(self)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._pinged = False
        self._hub.counters.received += len(data)
        if not self._bytes.take(len(data), self._heard):
            self._refuse_flood("bytes")
        for start in range(0, len(data), SLICE):
            if self._flooding:
                return
            self._protocol.receive_data(data[start : start + SLICE])
            events = self._protocol.events_received()
            if not self._frames.take(len(events), self._heard):
                self._refuse_flood("frames")
            for frame in events:
                if isinstance(frame, Frame) and self._protocol.state is State.OPEN:
                    self._take_frame(frame)
            self._flush()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._flush()
        return False

    def pause_writing(self) -> None:
        self.outbox.pause(self._loop.time())
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.outbox.resume()
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hub.connections.discard(self)
        self._stop()
        if not self.closed.done():
            self.closed.set_result(None)
        # After the handler has returned, which the future above has just scheduled.
        self._loop.call_soon(self._http.connection_lost, exc)

    # For the hub

    def send(self, message: bytes) -> None:
        if self._protocol.state is State.OPEN:
            self.outbox.send(message)

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; the client has until the next look of the hub.

        It is told nothing more, and what it asked for and waits is not done.
        """
        if self._protocol.state is State.OPEN:
            # A control frame has room for 125 bytes: https://www.rfc-editor.org/rfc/rfc6455#section-5.5
            self._protocol.send_close(code, reason.encode()[:120].decode(errors="ignore"))
            self._flush()
            self._stop()

    def abort(self) -> None:
        self._transport.abort()

    def check_alive(self) -> None:
        """Ping a silent client, and close one that is gone or takes nothing."""
        now = self._loop.time()
        settings = self._hub.settings
        silence = now - self._heard
        if self._leaving:
            self.abort()
        elif self.outbox.full_since is not None:
            if self.outbox.stuck_for(now) > settings.drain_timeout:
                self._hub.counters.stuck += 1
                self.abort()
        elif self._late_hello(now):
            self.close(wire.CLOSE_NO_HELLO, "HELLO did not come in time")
        elif silence > 2 * settings.ping_interval or self._protocol.state is not State.OPEN:
            self._leaving = True
            self.close(wire.CLOSE_SILENT, "no answer to a ping")
            self._transport.close()
        elif silence > settings.ping_interval and not self._pinged:
            self._pinged = True
            self._protocol.send_ping(b"")
            self._flush()

    def _late_hello(self, now: float) -> bool:
        waits = self._client is None and self._protocol.state is State.OPEN
        return waits and now - self._opened > self._hub.settings.hello_timeout

    # For who watches its session

    def take_used(self) -> bool:
        used, self._used = self._used, False
        return used

    async def follow_session(self, session: Session | None) -> None:
        if session is None:
            self.close(wire.CLOSE_SESSION_ENDED, "the session ended")
        elif session.access.token != self._session.access.token:
            self.close(wire.CLOSE_SESSION_CHANGED, "the session has a new token")
        else:
            self._session = session
            for local in list(self._rooms.values()):
                await self._ask_again(local.room, session)

    async def _ask_again(self, room: Room, session: Session) -> None:
        try:
            if not await room.authorize(session):
                self.close(wire.CLOSE_SESSION_CHANGED, f"you may no longer be in {room.name}")
        except Exception:  # it has not said no
            logger.exception("who may stay in room %s is unknown", room.name)

    # Frames

    def _refuse_flood(self, kind: str) -> None:
        """Close, and read nothing more: TCP holds up what comes."""
        self._flooding = True
        self.send(wire.error("too_fast", f"more {kind} in a time than are taken"))
        self.close(wire.CLOSE_TOO_FAST, f"too many {kind}")
        self._transport.pause_reading()

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY and frame.fin:
            self._take_message(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            self.close(1003, "messages are binary")
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self._fragments += frame.data
            if frame.fin:
                message = bytes(self._fragments)
                self._fragments.clear()
                self._take_message(message)

    def _take_message(self, message: bytes) -> None:
        try:
            request = wire.parse(message, self._hub.settings)
        except wire.WireError as error:
            self.close(wire.CLOSE_MALFORMED, f"malformed message: {error}")
            return
        if isinstance(request, wire.Hello) is (self._client is not None):
            self.close(wire.CLOSE_NO_HELLO, "HELLO comes first, and once")
        elif self._current or self.outbox.full_since is not None:
            self._backlog.append(request)
            self._regulate()
        else:
            self._handle(request)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.outbox.write(data)
            else:  # the core's sign that the connection is over
                self._transport.close()

    def _regulate(self) -> None:
        """Read only while there is room for requests and for their answers."""
        if self._transport.is_closing() or self._flooding:
            return
        full = self.outbox.full_since is not None
        if full or self._unanswered + len(self._backlog) > BACKLOG:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # Requests

    def _handle(self, request: wire.Request) -> None:
        if not isinstance(request, wire.Hello | wire.Ping):
            self._used, on_use, self.on_use = True, self.on_use, _nothing
            on_use()
        match request:
            case wire.Hello():
                self._client = request.client
                self.id = member_id(request.client)
                self.send(wire.welcome(self.id, self._hub.server))
            case wire.Ping():
                self.send(wire.pong())
            case wire.Join():
                self._begin(self._join(request))
            case wire.Leave():
                self._leave(request.room)
            case wire.Call() | wire.Write():
                self._mutate(request)
            case wire.Send():
                self._begin(self._send_event(request))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._current = self._context.run(background.start, work, f"request of {self.id}")
        self._current.add_done_callback(self._end)

    def _end(self, _: asyncio.Task[None]) -> None:
        self._current = None
        self._go_on()

    def _go_on(self) -> None:
        """Handle what waits, as long as the client takes the answers."""
        while self._backlog and not self._current and self.outbox.full_since is None:
            self._handle(self._backlog.pop(0))
        self._regulate()

    async def _join(self, request: wire.Join) -> None:
        name = request.room
        try:
            local = self._rooms.get(name) or await self._enter(name)
            if self._stopped:
                return  # `authorize` had lost the cancellation
            if local.attendance:
                local.attendance.enter(self.id, self, request.details)
            self._rooms[name] = local  # only now: one that was refused may be closed
            local.join(self.outbox, request.tag)
        except Exception as error:  # noqa: BLE001 - also what a room's `authorize` raises
            self.send(refusal(error, name))

    async def _enter(self, name: str) -> LocalRoom:
        if len(self._rooms) >= self._hub.settings.rooms_per_connection:
            raise Invalid("this connection is in too many rooms")
        return await self._hub.enter(name, self._session)

    def _stop(self) -> None:
        """Do no more for this client."""
        self._stopped = True
        if self._current:
            self._current.cancel()
        self._backlog.clear()
        for name in list(self._rooms):
            self._leave(name)

    def _leave(self, name: str) -> None:
        local = self._rooms.pop(name, None)
        self._lanes.pop(name, None)
        if local is not None:
            local.fanout.remove(self.outbox)
            if local.attendance and not self._hub.draining:  # else it will be back elsewhere
                local.attendance.leave(self.id, self)

    def _mutate(self, request: wire.Call | wire.Write) -> None:
        assert self._client is not None  # noqa: S101 - HELLO came first
        try:
            local = self._joined(request.room)
        except RoomError as error:
            self.send(refusal(error, request.room, request.mutation))
            return
        lane = self._lanes[request.room]
        if self._hub.draining:
            stops = StoreUnavailable("this worker stops")
            self.send(refusal(stops, request.room, request.mutation))
            return
        try:
            if isinstance(request, wire.Call):
                run = local.room.bind_action(request.action, self._session, request.args)
            else:
                run = local.room.bind_write(request.set, request.delete)
        except RoomError as error:
            lane.refused.append(request.mutation)
            self.send(refusal(error, request.room, request.mutation))
            return
        self._unanswered += 1
        self._regulate()
        mutation = Mutation(self._client, request.mutation, lane, run, self._answer, self._context)
        local.mutations.submit(mutation)

    def _answer(self, message: bytes) -> None:
        self._unanswered -= 1
        self.send(message)
        self._regulate()

    async def _send_event(self, request: wire.Send) -> None:
        try:
            local = self._joined(request.room)
            if request.event not in local.room.events:
                raise Invalid(f"{request.room} has no event {request.event!r:.60}")
            await local.send_event(request.event, request.payload, self.id)
        except (RoomError, StoreError) as error:
            self.send(refusal(error, request.room))

    def _joined(self, name: str) -> LocalRoom:
        local = self._rooms.get(name)
        if local is None:
            raise NotJoined(f"join {name!r:.60} first")
        return local


def _nothing() -> None:
    pass
