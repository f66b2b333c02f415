"""What a room declares for its members and the application: actions and events."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    get_args,
    overload,
)

import msgspec

from gospa.errors import DefinitionError, Invalid, Unauthorized, UnknownAction
from gospa.sessions.session import Session
from gospa.store.codec import check
from gospa.store.draft import Draft

P = ParamSpec("P")  # what a caller passes
Q = ParamSpec("Q")  # all parameters after the room
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
Run = Callable[[Draft], Any]

_NATIVE = (bytes, datetime)  # types that msgpack decodes


@dataclass(frozen=True, slots=True)
class Member:
    """Who calls an action: a client of a session, or the application itself (`server`).

    `id` is the one under which other members see a client.
    """

    id: str = ""
    session: Session | None = None
    server: bool = False

    @property
    def user(self) -> str | None:
        """The user, or None without a log-in."""
        return self.session.user if self.session is not None else None


SERVER = Member(server=True)


class Action(Generic[P, R_co, Q]):
    """An action of a room: a method that reads and changes its state, made by `@action`."""

    def __init__(self, function: Callable[..., Any], *, server: bool = False) -> None:
        self.function = function
        self.server = server
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.owner: type = object
        self._member = False
        self._arguments: type[msgspec.Struct] = msgspec.Struct

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    @overload
    def __get__(self, room: None, kind: type, /) -> Self: ...
    @overload
    def __get__(self, room: object, kind: type, /) -> Callable[Q, R_co]: ...
    def __get__(self, room: object | None, kind: type, /) -> Any:
        return self if room is None else self.function.__get__(room, kind)

    def define(self) -> None:
        """Read the signature. Raises DefinitionError."""
        where = f"{self.owner.__name__}.{self.name}"
        if inspect.iscoroutinefunction(self.function):
            raise DefinitionError(f"{where} is async: an action may only change its draft")
        parameters = list(inspect.signature(self.function, eval_str=True).parameters.values())[2:]
        self._member = bool(parameters) and parameters[0].annotation is Member
        parameters = parameters[1:] if self._member else parameters
        for p in parameters:
            if p.kind is not p.POSITIONAL_OR_KEYWORD:
                raise DefinitionError(f"{where} takes *args or **kwargs: name each argument")
            if p.annotation is p.empty:
                raise DefinitionError(f"{where}: annotate {p.name}")
            if _mentions(p.annotation, (Member, Session)):  # a client would send its own
                raise DefinitionError(f"{where}: `member: Member` comes right after the state")
        self._arguments = msgspec.defstruct(
            f"{self.name}_arguments",
            [
                (p.name, p.annotation, msgspec.NODEFAULT if p.default is p.empty else p.default)
                for p in parameters
            ],
            forbid_unknown_fields=True,
        )

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name. Raises Invalid."""
        names = self._arguments.__struct_fields__
        given = dict(zip(names, args, strict=False))
        if len(args) > len(names) or given.keys() & kwargs:
            raise Invalid(f"{self.name} takes {', '.join(names) or 'no arguments'}, each once")
        return {**given, **kwargs}

    def bind(self, room: object, member: Member, args: Mapping[str, Any]) -> Run:
        """A function that runs the action on a draft. Raises Invalid."""
        checked = msgspec.structs.asdict(converted(args, self._arguments))
        injected = (member,) if self._member else ()
        # Copied: the action may run again, and may change what it was given.
        return lambda draft: self.function(room, draft, *injected, **deepcopy(checked))


def _mentions(annotation: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a type is one of these, or made of one, such as `Member | None`."""
    return annotation in kinds or any(_mentions(part, kinds) for part in get_args(annotation))


class _ServerAction(Protocol):
    """The decorator `@action(server=True)`."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, Draft, Member, P], R_co], /
    ) -> Action[P, R_co, Concatenate[Draft, Member, P]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, Draft, P], R_co], /
    ) -> Action[P, R_co, Concatenate[Draft, P]]: ...


@overload
def action(
    function: Callable[Concatenate[Any, Draft, Member, P], R_co], /
) -> Action[P, R_co, Concatenate[Draft, Member, P]]: ...
@overload
def action(
    function: Callable[Concatenate[Any, Draft, P], R_co], /
) -> Action[P, R_co, Concatenate[Draft, P]]: ...
@overload
def action(*, server: bool) -> _ServerAction: ...
def action(function: Callable[..., Any] | None = None, /, *, server: bool = False) -> Any:
    """Make a method an action: members may call it, or with `server` only the application.

    It takes the room's state as a Draft, then `member: Member` if it asks who calls, then arguments
    whose annotations are checked. It must be a plain function that does nothing but read and
    change the draft: it runs again when another writer came first.
    """
    if function is not None:
        return Action(function)
    return lambda function: Action(function, server=server)


class Event(Generic[T]):
    """An ephemeral event of a room, delivered at most once to those who are connected.

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
        value = msgspec.to_builtins(converted(given, self.kind), builtin_types=_NATIVE)
        check(value, f"the payload of {self.name}")
        return value


def converted(value: Any, kind: Any) -> Any:
    """The value as one of a type. Raises Invalid."""
    try:
        return msgspec.convert(value, kind, builtin_types=_NATIVE)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error


class Declared:
    """What a room declares for others."""

    name: str
    actions: ClassVar[Mapping[str, Action[..., Any, ...]]] = {}
    events: ClassVar[Mapping[str, Event[Any]]] = {}
    writable: ClassVar[Mapping[str, Any]] = {}


def bind_action(room: Declared, name: str, member: Member, args: Mapping[str, Any]) -> Run:
    """A function that runs an action on a draft.

    Raises UnknownAction, Unauthorized or Invalid.
    """
    found = room.actions.get(name)
    if found is None:
        raise UnknownAction(f"{room.name} has no action {name!r:.60}")
    if found.server and not member.server:
        raise Unauthorized(f"only the application may call {name}")
    return found.bind(room, member, args)


def bind_write(room: Declared, values: Mapping[str, Any], deleted: Sequence[str]) -> Run:
    """A function that sets and deletes keys on a draft. Raises Invalid."""
    for key in (*values, *deleted):
        if key not in room.writable:
            raise Invalid(f"members may not write {key!r:.60} in {room.name}")
    checked = {key: converted(value, room.writable[key]) for key, value in values.items()}

    def write(draft: Draft) -> None:
        draft.update(checked)
        for key in deleted:
            draft.pop(key, None)

    return write


def find_event(room: Declared, name: str, member: Member) -> Event[Any]:
    """An event of a room. Raises Invalid, or Unauthorized if the member may not send it."""
    found = room.events.get(name)
    if found is None:
        raise Invalid(f"{room.name} has no event {name!r:.60}")
    if found.server and not member.server:
        raise Unauthorized(f"only the application may send {name}")
    return found
