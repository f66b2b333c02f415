"""Runs commands: for the application, and for a connection, which may have a few under way."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from dataclasses import replace
from typing import Any, Protocol

from gospa import tasks
from gospa.action import Action, bind_action
from gospa.command import Caller, Command
from gospa.errors import Busy, Invalid, StoreUnavailable, Unauthorized
from gospa.live import wire
from gospa.live.answers import error_message
from gospa.live.hub import Hub
from gospa.live.local_room import LocalRoom
from gospa.live.mutations import STOPPED
from gospa.live.sequence import MutationSequence
from gospa.live.traffic import Throttle
from gospa.live.writer import Writer
from gospa.member import Access, Member
from gospa.room import Room
from gospa.signature import plain

MAX_RUNNING = 8  # commands of one connection that are under way
LAST_ANSWER = 1.0  # seconds that a cancelled command has to end


async def run_command(  # noqa: PLR0913, PLR0917 - it needs things of many kinds
    hub: Hub,
    key: str,
    room: Room[Any],
    command: Command[..., Any, ...],
    member: Member,
    id: str,
    args: Mapping[str, Any],
    ttl: float,
    allowed: Callable[[], bool] = lambda: True,
    sent: Callable[[float, int], None] | None = None,
) -> Any:
    """Run a command; returns its result.

    Its calls are numbered steps of the source `step:<id>`, which is remembered for `ttl` seconds.
    Each is refused if the member is no longer `allowed` to change the room. `sent` is called with
    the bytes of each, and the number of receivers. Raises the exceptions of the command.
    """
    sequence = MutationSequence(f"step:{id}", ttl)
    acting, steps = replace(member, server=True), 0

    async def step(
        action: Action[..., Any, ...], given: tuple[Any, ...], named: Mapping[str, Any]
    ) -> Any:
        nonlocal steps
        if not isinstance(room, action.owner):
            raise Invalid(f"{action.owner.__name__}.{action.name} is not an action of {room.name}")
        if not allowed():
            raise Unauthorized(f"you may no longer change {room.name}")
        steps += 1
        run = bind_action(room, action.name, acting, action.signature.named(given, named))
        return await hub.submit(key, room, run, sequence, steps, name=action.name, sent=sent)

    return await command.bind(room, member, args)(Caller(id, member, step))


def command_id(session: str, id: bytes) -> str:
    """The id of a session's command, which no other session can have.

    It is the same over all clients of the session, because a page repeats the commands that the
    previous page left pending.
    """
    return hashlib.blake2b(session.encode() + id, digest_size=16).hexdigest()


class Seat(Protocol):
    """The place of a client in a room."""

    member: Member
    access: Access

    @property
    def local(self) -> LocalRoom:
        """The room."""

    def command(self, request: wire.Run) -> Command[..., Any, ...]:
        """The command that a request names. Raises RoomError."""


class Commands:
    """The commands of a connection that are under way."""

    def __init__(self, hub: Hub, writer: Writer, throttle: Throttle) -> None:
        self._hub, self._writer, self._throttle = hub, writer, throttle
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def begin(self, request: wire.Run, seat: Seat, id: str, context: Context) -> None:
        """Run a command in the background. Later requests do not wait for its end.

        Raises RoomError, also if too many are under way.
        """
        command = seat.command(request)
        if self._stopped:
            raise StoreUnavailable(STOPPED)
        if len(self._tasks) >= MAX_RUNNING:
            raise Busy(f"{MAX_RUNNING} commands are under way: wait for one to end")
        end = self._throttle.allowance.begin_command()
        (local, member), ttl = (seat.local, seat.member), self._hub.settings.mutation_ttl
        at = (self._hub, local.key, local.room)
        limits = (lambda: seat.access is Access.FULL, self._throttle.count)
        work = run_command(*at, command, member, id, request.args, ttl, *limits)
        name = f"command {command.name} of {member.id}"
        task = context.run(tasks.start, self._answer(request, work), name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(end)

    def stop(self) -> None:
        """Cancel all, and begin no more."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    async def ended(self) -> None:
        """Wait until those that were cancelled have answered."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_ANSWER)

    async def _answer(self, request: wire.Run, work: Coroutine[Any, Any, Any]) -> None:
        try:
            result = plain(await work, f"the result of {request.command}")
        except asyncio.CancelledError:
            stopped = StoreUnavailable(STOPPED)
            self._writer.send(error_message(stopped, request.room, request.id))
            raise
        except Exception as error:  # noqa: BLE001 - it is the outcome
            what = f"command {request.command}"
            self._writer.send(error_message(error, request.room, request.id, what))
        else:
            self._writer.send(wire.done(request.id, result))
