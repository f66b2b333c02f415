"""Commands: what a room does that takes time, such as asking a database or another service."""

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
    idempotency key for other services. `member` is whose command it is.
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

        When the command runs again, each of its calls is applied once, known by its place in the
        order of the command's calls: one that was applied before returns None. So make the same
        calls in the same order each time, whatever they return. The action's member is that of the
        command, with `server` set. Raises what the action raises.
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
    """A command that asks who runs it: type checkers tell it by the parameter's name."""

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

    It takes `caller: Caller`, if it changes the room, then arguments whose annotations are checked.
    It sees no state and changes none by itself: it calls actions through the caller. It runs at
    least once: again if its answer was lost, its client was disconnected, which cancels it, or the
    worker stopped in the middle. Other requests of its client do not wait for it.
    """
    return Command(function)
