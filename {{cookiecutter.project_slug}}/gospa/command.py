"""Commands: methods of a room that may wait, such as for a database or another service."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from gospa.action import Action, Declared, nearest, permit
from gospa.errors import DefinitionError, UnknownAction
from gospa.member import Member
from gospa.sessions.session import Session
from gospa.signature import Method, Q, read_signature

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Step = Callable[[Action[..., Any, ...], tuple[Any, ...], Mapping[str, Any]], Awaitable[Any]]


class Caller:
    """Who runs a command, and how the command changes its room.

    `id` stays the same when the command runs again after a crash or a lost answer: use it as the
    idempotency key for other services. `member` is the member who sent it.
    """

    def __init__(self, id: str, member: Member, step: Step) -> None:
        self.id = id
        self.member = member
        self._step = step

    @property
    def user(self) -> str | None:
        """The user, or None without a log-in."""
        return self.member.user

    async def call(
        self, action: Action[P, R, ...], /, *args: P.args, **kwargs: P.kwargs
    ) -> R | None:
        """Call an action of this room; returns its result.

        When the command runs again, a call that was applied before is not applied again, and
        returns None. Calls are identified by their position, so make the same calls in the same
        order in each run, whatever they return. The action's member is that of the command, with
        `server` set. Raises what the action raises.
        """
        result: R | None = await self._step(action, args, kwargs)
        return result


class Command(Method[Q, Coroutine[Any, Any, R_co]], Generic[P, R_co, Q]):
    """A command of a room: an async method made by `@command`."""

    def define(self) -> None:
        """Read the signature. Raises DefinitionError."""
        if not inspect.iscoroutinefunction(self.function):
            text = f"{self.where} is not async: what only changes the state is an @action"
            raise DefinitionError(text)
        self.signature = read_signature(
            self.function, self.where, first=None, injected=Caller, known=(Member, Session)
        )

    def bind(
        self, room: Declared, member: Member, args: Mapping[str, Any]
    ) -> Callable[[Caller], Coroutine[Any, Any, Any]]:
        """A function that runs the command for a caller.

        Raises Invalid, or Unauthorized if the member may not run it.
        """
        permit(room, member, self.name)
        checked = self.signature.checked(args)
        method, injected = self.function.__get__(room), self.signature.injected
        return lambda caller: method(*([caller] if injected else []), **checked)


def find_command(room: Declared, name: str) -> Command[..., Any, ...]:
    """A command of a room. Raises UnknownAction."""
    found: Command[..., Any, ...] | None = room.commands.get(name)
    if found is None:
        raise UnknownAction(
            f"{room.name} has no command {name!r:.60}{nearest(room, name, room.commands)}"
        )
    return found


class _WithCaller(Protocol[P, R_co]):
    """A command with a parameter `caller`, by whose name type checkers recognize it."""

    def __call__(
        self, room: Any, /, caller: Caller, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R_co]: ...


@overload
def command(function: _WithCaller[P, R_co], /) -> Command[P, R_co, Concatenate[Caller, P]]: ...
@overload
def command(
    function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R_co]], /
) -> Command[P, R_co, P]: ...
def command(function: Callable[..., Any], /) -> Any:
    """Make an async method a command: members may run it, and it may wait for anything.

    Its parameters are `caller: Caller`, if it changes the room, and arguments, which are checked
    against their annotations. It has no access to the state: it calls actions through the caller.
    It runs at least once: again if its answer was lost, its client was disconnected, which cancels
    it, or the worker stopped meanwhile. Other requests of its client do not wait for it.
    """
    return Command(function)
