"""One client's requests, in order, and the rooms it has joined."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from dataclasses import replace
from functools import partial
from typing import Any

from gospa import errors, tasks
from gospa.live import answers, wire
from gospa.live.answers import UNKNOWN, error_message, public_id, source_of
from gospa.live.commands import Commands, command_id
from gospa.live.current import CurrentSession
from gospa.live.events import send_event
from gospa.live.hub import Hub
from gospa.live.limits import ALLOWANCE, Allowance
from gospa.live.mutations import STOPPED
from gospa.live.seat import Changes, Seat, entered, introduced
from gospa.live.sequence import MutationSequence
from gospa.live.traffic import Throttle
from gospa.live.writer import Writer
from gospa.member import Access, member_of
from gospa.sessions.session import Session
from gospa.sessions.watch import Use

# Requests in progress, and their bytes, above which nothing more is read from the client.
BACKLOG, BACKLOG_BYTES = 64, 256 * 1024
CHANGES = (wire.Call, wire.Write, wire.Run)
CONNECTION_ID: ContextVar[str | None] = ContextVar("connection_id", default=None)


class Requests:
    """Answers each request, at once if it needs no store.

    While a JOIN or a SEND waits for the store, the client's next requests wait too, so that they
    keep their order.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it needs things of many kinds
        self,
        hub: Hub,
        session: Session,
        writer: Writer,
        close: Callable[[wire.Close, str], None],
        relieve: Callable[[], None],
        allowance: Allowance,
    ) -> None:
        """`close` ends the connection; `relieve` is called when it may not be `full` any more."""
        self._hub = hub
        self.session = CurrentSession(session)
        self._writer = writer
        self._close = close
        self._relieve = relieve
        self.context = Context()  # its own, because that of the handshake holds the request
        self.context.run(ALLOWANCE.set, allowance)
        self._client: bytes | None = None
        self.member = member_of("", session)
        self._seats: dict[str, Seat] = {}
        self._throttle = Throttle(allowance, self.go_on)
        self._commands = Commands(hub, writer, self._throttle)
        self._changes = Changes(hub, writer, self._throttle, self.context, relieve)
        self._backlog: list[tuple[wire.Request, int]] = []  # an empty deque takes 600 bytes
        self._bytes = self._joins = 0  # in the backlog; so far
        self._current: asyncio.Task[None] | None = None
        self.stopped = self._mismatched = False
        self.use = Use(allowance.visitor.network)

    @property
    def greeted(self) -> bool:
        """Whether the client has sent HELLO."""
        return self._client is not None

    @property
    def full(self) -> bool:
        """Whether so many requests are in progress that nothing more should be read."""
        many = self._changes.unanswered + len(self._backlog) > BACKLOG
        return many or self._changes.bytes + self._bytes > BACKLOG_BYTES

    def receive(self, request: wire.Request, size: int) -> None:
        """Handle a request of `size` bytes, after those before it, while answers are read."""
        if isinstance(request, wire.Hello) is self.greeted:
            self._close(wire.NO_HELLO, "")
        elif self._waits:
            self._bytes += size
            self._backlog.append((request, size))
        else:
            self._handle(request, size)

    def go_on(self) -> None:
        """Handle waiting requests as long as the client reads the answers."""
        while self._backlog and not self._waits:
            request, size = self._backlog.pop(0)
            self._bytes -= size
            self._handle(request, size)
        self._relieve()

    @property
    def _waits(self) -> bool:
        return bool(self._current or self._throttle.waits) or self._writer.full_since is not None

    def stop(self) -> None:
        """Do nothing more for this client."""
        self.stopped = True
        self._throttle.stop()
        if self._current:
            self._current.cancel()
        self._commands.stop()
        self._backlog.clear()
        for name in list(self._seats):
            self._leave(name)

    async def stop_commands(self) -> None:
        """Cancel the commands under way; the client is told that they did not end."""
        self._commands.stop()
        await self._commands.ended()

    # For the watch of its session

    def follow_session(self, session: Session | None) -> int:
        """Apply the session as stored now, None if it ended; returns how many rooms it concerns."""
        if self._adopt(session):
            for name, seat in self._seats.items():
                self._ask(name, self._authorize_again(name, seat))
        return len(self._seats)

    def _adopt(self, session: Session | None) -> bool:
        """Use this session from now on, or close the connection; returns whether it stays open."""
        if session is None:
            self._close(wire.SESSION_ENDED, "")
        elif session.credentials.token != self.session.known.credentials.token:
            self._close(wire.NEW_TOKEN, "")
        else:
            if session is not self.session.known:
                self.session.known = session
                self.member = replace(self.member, session=session, user=session.user)
            return True
        return False

    async def _read_and_authorize(self, name: str, seat: Seat) -> None:
        session = await self.session.newest()
        if not self.stopped and self._adopt(session):
            await self._authorize_again(name, seat)

    async def _authorize_again(self, name: str, seat: Seat) -> None:
        if not await seat.renew(self.session.known, lambda: self._seats.get(name) is seat):
            return
        if seat.access is Access.NONE:
            self._remove(name, "unauthorized", f"you may no longer be in {name}")
        else:
            seat.local.tell_access(self._writer, seat.access)

    # For the rooms

    def kick(self, room: str) -> None:
        """Remove the client from a room and its list of members, and tell it."""
        base = room.partition("#")[0]
        for name in [each for each in self._seats if each.partition("#")[0] == base]:
            self._remove(name, "kicked", "you were removed from this room")

    def reauthorize(self, room: str) -> None:
        """Authorize the client in a room again, with the session as it is stored now."""
        self._ask(room, self._read_and_authorize(room, self._seats[room]))

    def _ask(self, room: str, work: Coroutine[Any, Any, None]) -> None:
        self.context.run(tasks.start, work, f"authorize() of {room} for {self.member.id}")

    def restart(self) -> None:
        """Have the client connect again, maybe to another host."""
        self._close(wire.RESTART, "")

    def tell(self, room: str, code: str, text: str) -> None:
        """Send the client an error that concerns its membership."""
        self._writer.send(wire.error(code, text, room=room))

    def _remove(self, name: str, code: str, text: str) -> None:
        self._seats[name].access = Access.NONE  # also for its commands under way
        self._leave(name, orderly=True)
        self.tell(name, code, text)

    # Requests of each kind

    def _handle(self, request: wire.Request, size: int) -> None:
        if not isinstance(request, wire.Hello | wire.Ping):
            self.use.note(self.session.known, change=isinstance(request, CHANGES))
        match request:
            case wire.Call() | wire.Write():
                self._mutate(request, size)
            case wire.Run():
                self._run(request)
            case wire.Ping():
                self._writer.send(wire.pong())
            case wire.Hello():
                self._greet(request)
            case wire.Join():
                self._begin(self._join(request))
            case wire.Leave():
                self._leave(request.room, orderly=True)
            case wire.Send():
                self._begin(self._send_event(request))

    def _greet(self, request: wire.Hello) -> None:
        if request.release in self._hub.outdated:
            self._close(wire.OUTDATED, "")
            return
        self._client = request.client
        if request.release not in (None, "", self._hub.server.get("release")):
            self._changes.elsewhere = partial(self._close, wire.ANOTHER, "")
        self.member = member_of(answers.member_id(request.client), self.session.known)
        self.context.run(CONNECTION_ID.set, self.member.id)
        self._writer.send(answers.welcome(self.member, self._hub.server, self.session.known))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a request that waits for the store; later requests wait for its end."""
        self._current = self.context.run(tasks.start, work, f"request of {self.member.id}")
        self._current.add_done_callback(self._end)

    def _end(self, _: asyncio.Task[None]) -> None:
        self._current = None
        self.go_on()

    async def _join(self, request: wire.Join) -> None:
        name = request.room
        try:
            shown, before = (request.version or 0, request.tag), self._seats.get(name)
            if before is not None:
                await before.local.catch_up(*shown)
                if self._seats.get(name) is not before:
                    return  # it was kicked meanwhile
                local, access = before.local, before.access
            elif len(self._seats) >= self._hub.settings.rooms_per_connection:
                raise errors.Invalid("this connection is in too many rooms")  # noqa: TRY301 - as others do
            else:
                local, access = await entered(self._hub, name, lambda: self.session.known, *shown)
            if self.stopped:
                return  # `authorize` had swallowed the cancellation
            member = introduced(local.room, self.member, self.session.known, request.details)
            if local.visits and not local.follower.replica.version:  # the visit will create it
                self._throttle.allowance.create_room()
            source = source_of(self._client, self.session.known)
            sequence = MutationSequence(source, self._hub.settings.mutation_ttl)
            seat = before or Seat(local, member, access, sequence, self)
            seat.member = member
            if local.visits:
                local.visits.enter(seat)
                self._throttle.count(seat.visit_size, local.audience)
            self._seats[name] = seat  # only now: a room that was refused may be closed
            size = local.join(seat, self._writer, request.tag, shown[0])
            self._joins += 1
            if self._joins > self._hub.settings.rooms_per_connection:  # it joins repeatedly
                self._throttle.count(size, 1)
        except Exception as error:  # noqa: BLE001 - also what a room's `authorize` raises
            self._refuse(error, name, what="JOIN")
            if isinstance(error, errors.SchemaMismatch) and self._mismatched:
                self.restart()  # asked again: another host may have the release for it
            self._mismatched |= isinstance(error, errors.SchemaMismatch)

    def _refuse(self, error: Exception, room: str, id: Any = None, what: str = "a request") -> None:
        """Answer a failed request, or have a page of another release try another host."""
        if self._changes.elsewhere and isinstance(error, UNKNOWN):
            self._changes.elsewhere()
        else:
            self._writer.send(error_message(error, room, id, what))

    def _leave(self, name: str, *, orderly: bool = False) -> None:
        if seat := self._seats.pop(name, None):
            seat.local.leave(self._writer)
            if seat.local.visits:
                seat.local.visits.leave(seat, orderly=orderly)
                self._throttle.count(seat.visit_size, seat.local.audience)

    def _mutate(self, request: wire.Call | wire.Write, size: int) -> None:
        try:
            self._changes.submit(request, size, self._seat(request.room))
        except errors.NotJoined as error:
            self._begin(self._changes.recall(request, self.session.known, self._client, error))
        except errors.StoreUnavailable as error:
            self._writer.send(error_message(error, request.room, request.mutation))

    def _run(self, request: wire.Run) -> None:
        try:
            seat = self._seat(request.room)
            id = command_id(public_id(self.session.known), request.id)
            self._commands.begin(request, seat, id, self.context)
        except (errors.RoomError, errors.StoreUnavailable) as error:
            self._refuse(error, request.room, request.id)

    async def _send_event(self, request: wire.Send) -> None:
        try:
            allowance = self._throttle.allowance
            await send_event(self._hub, self._seat(request.room), request, allowance)
        except Exception as error:  # noqa: BLE001 - it is the answer
            self._writer.send(error_message(error, request.room, what=request.event))

    def _seat(self, name: str) -> Seat:
        if self._hub.draining:
            raise errors.StoreUnavailable(STOPPED)
        if name not in self._seats:
            raise errors.NotJoined(f"join {name!r:.60} first")
        return self._seats[name]
