"""What a room declares for its members and the application: actions and events."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from types import NoneType
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

from gospa.errors import DefinitionError, Invalid, Unauthorized, UnknownAction
from gospa.member import Member
from gospa.signature import Method, Q, converted, plain, read_signature
from gospa.state import State, values_of
from gospa.store.alarms import ALARM
from gospa.store.codec import CodecError
from gospa.store.draft import Draft, Run
from gospa.store.schema import require_version

IMMUTABLE = (int, float, str, bytes, datetime, NoneType)  # as most arguments are

P = ParamSpec("P")  # the caller's arguments
S = TypeVar("S", bound=State)
S_contra = TypeVar("S_contra", bound=State, contravariant=True)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Action(Method[Q, R_co], Generic[P, R_co, Q]):
    """An action of a room: a method that reads and changes its state, made by `@action`."""

    def __init__(self, function: Callable[..., Any], *, server: bool = False) -> None:
        super().__init__(function)
        self.server = server

    def define(self, state: type[State]) -> None:
        """Read the signature. Raises DefinitionError."""
        if inspect.iscoroutinefunction(self.function):
            text = f"{self.where} is async: an action only changes the state; use @command"
            raise DefinitionError(text)
        self.signature = read_signature(self.function, self.where, first=state, injected=Member)

    def bind(self, room: "Declared", member: Member, args: Mapping[str, Any]) -> Run:
        """A function that runs the action on a draft. Raises Invalid."""
        checked = self.signature.checked(args)
        mutable = any(not isinstance(each, IMMUTABLE) for each in checked.values())
        injected = (member,) if self.signature.injected else ()

        def run(draft: Draft) -> Any:
            require_version(draft, room.version, room.name)
            state = room.state.of(draft)
            # Copied: the action may run again, and may change its arguments.
            own = deepcopy(checked) if mutable else checked
            result = self.function(room, state, *injected, **own)
            finish(room, state)
            plain(result, f"the result of {self.name}")
            return result

        return run


class _WithMember(Protocol[S_contra, P, R_co]):
    """An action with a parameter `member`.

    Type checkers recognize it by that name, because the type alone would also match `x: Any`.
    """

    def __call__(
        self, room: Any, state: S_contra, /, member: Member, *args: P.args, **kwargs: P.kwargs
    ) -> R_co: ...


class _ServerAction(Protocol):
    """The decorator `@action(server=True)`."""

    @overload
    def __call__(
        self, function: _WithMember[S, P, R_co], /
    ) -> Action[P, R_co, Concatenate[S, Member, P]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, S, P], R_co], /
    ) -> Action[P, R_co, Concatenate[S, P]]: ...


@overload
def action(function: _WithMember[S, P, R_co], /) -> Action[P, R_co, Concatenate[S, Member, P]]: ...
@overload
def action(
    function: Callable[Concatenate[Any, S, P], R_co], /
) -> Action[P, R_co, Concatenate[S, P]]: ...
@overload
def action(*, server: bool) -> _ServerAction: ...
def action(function: Callable[..., Any] | None = None, /, *, server: bool = False) -> Any:
    """Make a method an action: members may call it, or with `server` only the application.

    Its parameters are the room's state, optionally `member: Member`, the caller, and arguments,
    which are checked against their annotations. It must be a plain function without side effects:
    it runs again if another writer committed first. It raises RoomError to refuse the call, which
    then changes nothing; other exceptions are logged, and the caller gets no details.
    """
    if function is not None:
        return Action(function)
    return lambda function: Action(function, server=server)


class Event(Generic[T]):
    """An ephemeral event of a room, delivered at most once to its current members.

    `kind` is the type of its payload. Members may send it, or with `server` only the application.
    """

    def __init__(self, kind: type[T], *, server: bool = False) -> None:
        self.kind = kind
        self.server = server
        self.name = ""
        self.owner: type = object

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def payload(self, given: Any) -> Any:
        """A payload as the values that are sent. Raises Invalid."""
        where = f"the payload of {self.name}"
        try:
            return plain(converted(given, self.kind, where), where)
        except CodecError as error:
            raise Invalid(str(error)) from error


class Declared:
    """What a room declares for its callers."""

    name: str
    version: ClassVar[int] = 1
    state: ClassVar[type[State]] = State
    actions: ClassVar[Mapping[str, Action[..., Any, ...]]] = {}
    events: ClassVar[Mapping[str, Event[Any]]] = {}
    commands: ClassVar[Mapping[str, Any]] = {}  # see gospa/command.py
    alarms: ClassVar[Mapping[str, Any]] = {}  # at most one: see gospa/alarm.py

    def allows(self, member: Member, name: str) -> bool:  # noqa: ARG002 - for subclasses
        """Whether a member with full access may use the action, command, event or field `name`.

        Called at each use, except by the application, which may use all of them.
        """
        return True

    @property
    def hints(self) -> bool:
        """Whether errors suggest similar names: in development only."""
        app = getattr(self, "app", None)
        return app is not None and bool(app.debug)


def finish(room: Declared, state: State) -> None:
    """Store values that were changed in place. Raises CodecError if one cannot be stored.

    Raises DefinitionError if an alarm time was set and the room has no alarm.
    """
    values = values_of(state)
    values.finish()
    if not room.alarms and values.draft.changes(ALARM):
        raise DefinitionError(f"{type(room).__name__} has no @alarm, which state.wake() would run")


def bind_action(room: Declared, name: str, member: Member, args: Mapping[str, Any]) -> Run:
    """A function that runs an action on a draft.

    Raises UnknownAction, Unauthorized or Invalid.
    """
    found = room.actions.get(name)
    if found is None:
        hint = nearest(room, name, room.actions)
        raise UnknownAction(f"{room.name} has no action {name!r:.60}{hint}")
    if found.server and not member.server:
        raise Unauthorized(f"only the application may call {name}")
    permit(room, member, name)
    return found.bind(room, member, args)


def bind_write(
    room: Declared, member: Member, values: Mapping[str, Any], deleted: Sequence[str]
) -> Run:
    """A function that sets and deletes fields on a draft. Raises Invalid or Unauthorized."""
    fields = room.state.schema().fields
    for key in (*values, *deleted):
        if key not in fields or not fields[key].writable:
            hint = nearest(room, key, [name for name, each in fields.items() if each.writable])
            raise Invalid(f"members may not write {key!r:.60} in {room.name}{hint}")
        permit(room, member, key)
    try:
        encoded = {
            key: fields[key].type.encode(converted(value, fields[key].type.kind, key))
            for key, value in values.items()
        }
    except CodecError as error:
        raise Invalid(str(error)) from error

    def write(draft: Draft) -> None:
        require_version(draft, room.version, room.name)
        for key, raw in encoded.items():
            draft.set(key, raw)
        for key in deleted:
            draft.delete(key)

    return write


def find_event(room: Declared, name: str, member: Member) -> Event[Any]:
    """An event of a room. Raises Invalid, or Unauthorized if the member may not send it."""
    found = room.events.get(name)
    if found is None:
        hint = nearest(room, name, room.events)
        raise Invalid(f"{room.name} has no event {name!r:.60}{hint}")
    if found.server and not member.server:
        raise Unauthorized(f"only the application may send {name}")
    permit(room, member, name)
    return found


def permit(room: Declared, member: Member, name: str) -> None:
    """Raise Unauthorized if the room does not allow the member to use this."""
    if not member.server and not room.allows(member, name):
        raise Unauthorized(f"you may not use {name} in {room.name}")


def nearest(room: Declared, name: str, known: Iterable[str]) -> str:
    """A suggestion for an unknown name, in development."""
    return closest(name, known) if room.hints else ""


def closest(name: str, known: Iterable[str]) -> str:
    """A suggestion for an unknown name, as the end of a sentence."""
    found = difflib.get_close_matches(name, list(known), 1)
    return f": did you mean {found[0]}?" if found else ""
