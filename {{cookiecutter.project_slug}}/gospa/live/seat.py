"""One client's place in a room, and its mutations there."""

import asyncio
import os
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, Protocol

from sanic.log import logger

from gospa.action import bind_action, bind_write, find_event
from gospa.command import Command, find_command
from gospa.errors import Invalid, NotJoined, Unauthorized
from gospa.live import wire
from gospa.live.access import access_of
from gospa.live.answers import UNKNOWN, Elsewhere, error_message, source_of
from gospa.live.batch import Mutation
from gospa.live.hub import Hub
from gospa.live.limits import Allowance, Bill
from gospa.live.local_room import LocalRoom
from gospa.live.sequence import Applied, MutationSequence, Outcome, known_outcome
from gospa.live.traffic import Throttle
from gospa.live.writer import Writer
from gospa.member import Access, Member
from gospa.room import Room
from gospa.sessions.session import Session
from gospa.signature import plain
from gospa.store.codec import CodecError, pack
from gospa.store.contract import NO_MESSAGE, TAG_BYTES, Change, Known, Numbered
from gospa.store.draft import Draft, Run

_Mutation = wire.Call | wire.Write

ANSWER = 10.0  # seconds that `authorize` may take for a member of the room
VISIT = 200  # bytes, about, that members are sent of a visit, besides the client's details
MAX_DETAILS = 1024  # bytes of the details that a client sends about itself


class Client(Protocol):
    """The connection that a seat is of."""

    def kick(self, room: str) -> None:
        """Remove the client from a room and its list of members, and tell it."""

    def reauthorize(self, room: str) -> None:
        """Authorize the client in a room again."""

    def restart(self) -> None:
        """Have the client connect again, maybe to another host."""

    def tell(self, room: str, code: str, text: str) -> None:
        """Send the client an error that concerns its membership."""


class Seat:
    """The client as a member of the room, its access, and the numbers of its mutations."""

    __slots__ = (
        *("_answered", "_asked", "_recorded"),
        *("access", "client", "local", "member", "sequence"),
    )

    def __init__(
        self,
        local: LocalRoom,
        member: Member,
        access: Access,
        sequence: MutationSequence,
        client: Client,
    ) -> None:
        self.local = local
        self.member = member
        self.access = access
        self.sequence = sequence
        self.client = client
        self._recorded = False
        self._asked = self._answered = 0  # questions about its rights, and the newest one answered

    @property
    def visit_size(self) -> int:
        """The bytes, about, that each member is sent of the client's coming or going."""
        return VISIT + len(pack(self.member.claims))

    def kick(self) -> None:
        """Remove the client from the room, and tell it."""
        self.client.kick(self.local.room.name)

    def reauthorize(self) -> None:
        """Authorize it again."""
        self.client.reauthorize(self.local.room.name)

    def restart(self) -> None:
        """Have the client connect again, maybe to another host."""
        self.client.restart()

    async def ask_again(self, session: Session) -> tuple[Access, Member] | None:
        """Call `authorize` again: the client's access, and the member as others see it.

        None if it fails, or if a later call has returned already.
        """
        self._asked += 1
        question, room = self._asked, self.local.room
        try:
            async with asyncio.timeout(ANSWER):
                access = await access_of(room, session)
            member = introduced(room, self.member, session, self.member.claims)
        except Exception:  # no answer is not a refusal
            logger.exception("authorize() of room %s failed; the member stays", room.name)
            return None
        if question < self._answered:
            return None
        self._answered = question
        return access, member

    async def renew(self, session: Session, is_here: Callable[[], bool]) -> bool:
        """Authorize the client again, and apply the result; returns whether its access changed."""
        answer = await self.ask_again(session)
        if answer is None or not is_here():
            return False
        before, known = self.access, self.member
        self.access, self.member = answer
        if self.access is not Access.NONE and self.local.visits and self.member.info != known.info:
            self.local.visits.enter(self)
        return self.access is not before

    def bind(self, request: wire.Call | wire.Write) -> Run:
        """What a request does to the state. Raises RoomError."""
        self._check()
        if isinstance(request, wire.Call):
            return bind_action(self.local.room, request.action, self.member, request.args)
        return bind_write(self.local.room, self.member, request.set, request.delete)

    def pay_record(self, allowance: Allowance) -> None:
        """Count the store's record of its mutations, before the first one. Raises RateLimited."""
        if not self._recorded:
            allowance.make_record()
            self._recorded = True

    def command(self, request: wire.Run) -> Command[..., Any, ...]:
        """The command that a request names. Raises RoomError."""
        self._check()
        return find_command(self.local.room, request.command)

    def event(self, request: wire.Send) -> bytes:
        """The EVENT that a request sends. Raises RoomError."""
        self._check()
        room = self.local.room
        event = find_event(room, request.event, self.member)
        return wire.event(room.name, event.name, event.payload(request.payload), self.member)

    def _check(self) -> None:
        if self.access is not Access.FULL:
            raise Unauthorized(f"you may only read {self.local.room.name}")


async def entered(
    hub: Hub, name: str, current: Callable[[], Session], version: int, tag: bytes | None
) -> tuple[LocalRoom, Access]:
    """The room of that name, and what the session allows there as it is by now."""
    while True:
        session = current()
        found = await hub.enter(name, session, version, tag)
        if session == current():
            return found


def introduced(room: Room[Any], member: Member, session: Session, claims: Any) -> Member:
    """A client as others in the room see it."""
    if claims is not member.claims and len(pack(claims)) > MAX_DETAILS:
        raise Invalid(f"a member's details have at most {MAX_DETAILS} bytes")
    where = f"what {type(room).__name__}.introduce returns"
    info = plain(room.introduce(session), where)
    if not isinstance(info, dict):
        raise CodecError(f"{where} is {info!r:.40}: return a dict")
    if session is member.session and claims is member.claims and info == member.info:
        return member
    return replace(member, session=session, user=session.user, info=info, claims=claims)


class Changes:
    """Answers the CALLs and WRITEs of a connection.

    A mutation that is not allowed by now may be the repeat of one that was, and was applied, and
    whose answer was lost. So the store's record is asked before any is refused.
    """

    def __init__(
        self,
        hub: Hub,
        writer: Writer,
        throttle: Throttle,
        context: Context,
        relieve: Callable[[], None],
    ) -> None:
        """`relieve` is called when those without an answer have become fewer."""
        self._hub, self._writer, self._throttle = hub, writer, throttle
        self._context, self._relieve = context, relieve
        self.unanswered = self.bytes = 0
        # Closes the connection of a page of another release, whose hosts may know its request.
        self.elsewhere: Callable[[], None] | None = None

    def submit(self, request: _Mutation, size: int, seat: Seat) -> None:
        """Queue a mutation of `size` bytes in a room that the client is in."""
        done = partial(self._answer, request, size, seat)
        self.unanswered += 1
        self.bytes += size
        allowance = self._throttle.allowance
        run, mine = self._bound(seat, request), (self._context, _name(request), Bill(allowance))
        seat.local.mutations.submit(Mutation(seat.sequence, request.mutation, run, done, *mine))

    def _bound(self, seat: Seat, request: _Mutation) -> Run:
        """What a request does to the state: it only fails if it is not allowed or not valid."""
        try:
            seat.pay_record(self._throttle.allowance)  # also of a refusal
            return seat.bind(request)
        except Exception as error:  # noqa: BLE001 - also what a room's `allows` raises
            if self.elsewhere and isinstance(error, UNKNOWN):
                return partial(_fail, Elsewhere(str(error)))
            return partial(_fail, error)

    async def recall(
        self, request: _Mutation, session: Session, client: bytes | None, error: NotJoined
    ) -> None:
        """Answer a mutation in a room that the client is not in: only a repeat has an outcome."""
        try:
            key, _ = self._hub.router.resolve(request.room, session)
            source = source_of(client, session)
            outcome = await self._recorded(key, source, request.mutation) or error
        except Exception as failure:  # noqa: BLE001 - it is the answer
            outcome = failure
        self._send(request, outcome)

    async def _recorded(self, key: str, source: str, number: int) -> Outcome | None:
        question = Change(
            tag=os.urandom(TAG_BYTES),
            exists=True,  # either value would do: the answer is used only if the number is known
            message=NO_MESSAGE,
            mutations=[Numbered(source, number, number, ttl=0.0)],
        )
        answer = await self._hub.store.commit(key, question)
        return known_outcome(answer, source, number) if isinstance(answer, Known) else None

    def _answer(self, request: _Mutation, size: int, seat: Seat, outcome: Outcome) -> None:
        self.unanswered -= 1
        self.bytes -= size
        if isinstance(outcome, Applied):
            self._throttle.count(outcome.size, seat.local.audience)
        self._send(request, outcome)
        self._relieve()

    def _send(self, request: _Mutation, outcome: Outcome) -> None:
        number, what = request.mutation, _name(request)
        if isinstance(outcome, Applied):
            result = plain(outcome.result, what)
            self._writer.send(wire.ack(number, outcome.version, result))
        elif self.elsewhere and isinstance(outcome, Elsewhere):
            self.elsewhere()
        else:
            self._writer.send(error_message(outcome, request.room, number, what))


def _fail(error: Exception, _: Draft) -> NoReturn:
    raise error


def _name(request: _Mutation) -> str:
    return request.action if isinstance(request, wire.Call) else "a write"
