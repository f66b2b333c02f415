"""One client's WebSocket: frames in, checked where they arrive; answers and news out."""

import asyncio
import contextvars
import os
from collections import defaultdict, deque
from collections.abc import Coroutine
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from server import background, logs
from server.errors import StoreError, StoreUnavailable
from server.realtime import wire
from server.realtime.hub import Hub
from server.realtime.local_room import LocalRoom
from server.realtime.mutations import Lane, Mutation
from server.realtime.outbox import Outbox
from server.realtime.refusal import refusal
from server.realtime.room import Invalid, NotJoined, RoomError
from server.sessions.session import Session

BACKLOG = 64  # requests in progress, above which nothing more is read from the client


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
        self._heard = self._loop.time()
        self._pinged = False
        self._leaving = False
        self._client: bytes | None = None
        self._fragments: list[bytes] = []
        self._rooms: dict[str, LocalRoom] = {}
        self._lanes: defaultdict[str, Lane] = defaultdict(Lane)
        self._backlog: deque[wire.Request] = deque()
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
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
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
        if self._current:
            self._current.cancel()
        self._backlog.clear()
        for name in list(self._rooms):
            self._leave(name)
        if not self.closed.done():
            self.closed.set_result(None)
        # After the handler has returned, which the future above has just scheduled.
        self._loop.call_soon(self._http.connection_lost, exc)

    # For the hub

    def send(self, message: bytes) -> None:
        if self._protocol.state is State.OPEN:
            self.outbox.send(message)

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; the client has until the next look of the hub."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()

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
        elif silence > 2 * settings.ping_interval or self._protocol.state is not State.OPEN:
            self._leaving = True
            self.close(wire.CLOSE_SILENT, "no answer to a ping")
            self._transport.close()
        elif silence > settings.ping_interval and not self._pinged:
            self._pinged = True
            self._protocol.send_ping(b"")
            self._flush()

    # Frames

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY and frame.fin:
            self._take_message(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            self.close(1003, "messages are binary")
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
            if frame.data:
                self._fragments.append(bytes(frame.data))
            if frame.fin:
                message = b"".join(self._fragments)
                self._fragments.clear()
                self._take_message(message)

    def _take_message(self, message: bytes) -> None:
        try:
            request = wire.parse(message)
        except wire.WireError as error:
            self.close(wire.CLOSE_MALFORMED, f"malformed message: {error}"[:120])
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
        if self._transport.is_closing():
            return
        full = self.outbox.full_since is not None
        if full or self._unanswered + len(self._backlog) > BACKLOG:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # Requests

    def _handle(self, request: wire.Request) -> None:
        match request:
            case wire.Hello():
                self._client = request.client
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
            self._handle(self._backlog.popleft())
        self._regulate()

    async def _join(self, request: wire.Join) -> None:
        name = request.room
        try:
            local = self._rooms.get(name) or await self._enter(name)
            local.join(self.outbox, request.tag)
        except Exception as error:  # noqa: BLE001 - also what a room's `authorize` raises
            self.send(refusal(error, name))

    async def _enter(self, name: str) -> LocalRoom:
        if len(self._rooms) >= self._hub.settings.rooms_per_connection:
            raise Invalid("this connection is in too many rooms")
        local = self._rooms[name] = await self._hub.enter(name, self._session)
        return local

    def _leave(self, name: str) -> None:
        local = self._rooms.pop(name, None)
        self._lanes.pop(name, None)
        if local is not None:
            local.fanout.remove(self.outbox)

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
        mutation = Mutation(self._client, request.mutation, lane, run, self._answer)
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
            await local.send_event(request.event, request.payload)
        except (RoomError, StoreError) as error:
            self.send(refusal(error, request.room))

    def _joined(self, name: str) -> LocalRoom:
        local = self._rooms.get(name)
        if local is None:
            raise NotJoined(f"join {name!r:.60} first")
        return local
