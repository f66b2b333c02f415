"""A kind of room: its state, its actions, and who may enter."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import msgspec

from gospa.sessions.session import Session
from gospa.store.codec import CodecError, pack_fields
from gospa.store.draft import Draft

Function = TypeVar("Function", bound=Callable[..., Any])
Run = Callable[[Draft], Any]

_NATIVE = (bytes, datetime)  # types that msgpack decodes


class RoomError(Exception):
    """A request that a room refuses; nothing was changed. The client learns `code` and text."""

    code = "refused"


class UnknownRoom(RoomError):
    code = "unknown_room"


class UnknownAction(RoomError):
    code = "unknown_action"


class Unauthorized(RoomError):
    code = "unauthorized"


class NotJoined(RoomError):
    code = "not_joined"


class Invalid(RoomError):
    """Arguments, keys or values that the room does not take."""

    code = "invalid"


class Conflicted(RoomError):
    """Every attempt conflicted with another commit."""

    code = "conflict"


class DefinitionError(TypeError):
    """A room class that cannot work as written."""


def action(function: Function) -> Function:
    """Mark a method as an action that members may call.

    It takes the room's state as a Draft, then arguments whose annotations are checked; a
    parameter annotated `Session` receives the caller's session. It must be a plain function that
    does nothing but read and change the draft: it runs again when another writer came first.
    """
    function.__is_action__ = True  # type: ignore[attr-defined]
    return function


class _Action:
    """An action's method and the arguments it takes."""

    def __init__(self, owner: type, method: Callable[..., Any]) -> None:
        where = f"{owner.__name__}.{method.__name__}"
        if inspect.iscoroutinefunction(method):
            raise DefinitionError(f"{where} is async: an action may only change its draft")
        parameters = list(inspect.signature(method, eval_str=True).parameters.values())[2:]
        for p in parameters:
            if p.kind is not p.POSITIONAL_OR_KEYWORD:
                raise DefinitionError(f"{where} takes *args or **kwargs: name each argument")
            if p.annotation is p.empty:
                raise DefinitionError(f"{where}: annotate {p.name}")
        self._method = method
        self._sessions = [p.name for p in parameters if p.annotation is Session]
        self._arguments = msgspec.defstruct(
            f"{method.__name__}_arguments",
            [
                (p.name, p.annotation, msgspec.NODEFAULT if p.default is p.empty else p.default)
                for p in parameters
                if p.annotation is not Session
            ],
            forbid_unknown_fields=True,
        )

    def bind(self, room: "Room", session: Session, args: Mapping[str, Any]) -> Run:
        checked = _converted(args, self._arguments)
        arguments = {**msgspec.structs.asdict(checked), **dict.fromkeys(self._sessions, session)}
        return lambda draft: self._method(room, draft, **arguments)


def _converted(value: Any, kind: Any) -> Any:
    """The value as one of a type. Raises Invalid."""
    try:
        return msgspec.convert(value, kind, builtin_types=_NATIVE)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error


class Room:
    """One kind of room. Subclass it, name its pattern, and say who may enter.

    pattern   the names it answers to: "poll/<name>" matches "poll/lunch"
    initial   the state of a room that nobody has changed yet
    writable  keys that members may set directly, with the type of each value
    events    names of ephemeral events that members may send to each other
    private   True: each session has its own room under this name
    presence  True: members may see who else is in the room
    """

    pattern: ClassVar[str]
    initial: ClassVar[Mapping[str, Any]] = {}
    writable: ClassVar[Mapping[str, Any]] = {}
    events: ClassVar[frozenset[str]] = frozenset()
    private: ClassVar[bool] = False
    presence: ClassVar[bool] = False

    _actions: ClassVar[Mapping[str, _Action]] = {}
    initial_fields: ClassVar[Mapping[str, bytes]] = {}  # `initial`, encoded

    def __init_subclass__(cls) -> None:
        if not isinstance(getattr(cls, "pattern", None), str):
            raise DefinitionError(f"{cls.__name__} needs a pattern, for example 'poll/<name>'")
        if cls.authorize is Room.authorize:
            raise DefinitionError(
                f"{cls.__name__} needs `async def authorize(self, session) -> bool`: who may enter"
            )
        try:
            cls.initial_fields = pack_fields(cls.initial)
        except CodecError as error:
            raise DefinitionError(f"{cls.__name__}.initial: {error}") from error
        cls._actions = {
            name: _Action(cls, method)
            for name, method in inspect.getmembers(cls, inspect.isfunction)
            if getattr(method, "__is_action__", False)
        }

    def __init__(self, name: str, params: Mapping[str, str]) -> None:
        self.name = name
        self.params = params

    async def authorize(self, session: Session) -> bool:
        """Whether the holder of `session` may enter, and stay.

        Asked when a connection joins, and at intervals (`GOSPA_SESSION_CHECK_INTERVAL`) after that.
        """
        raise DefinitionError(f"{type(self).__name__} has no authorize")

    def _track_members(self, local: Any) -> Any:
        """Private: lets the presence extra follow who joins and leaves, until rooms have hooks."""

    def bind_action(self, name: str, session: Session, args: Mapping[str, Any]) -> Run:
        """A function that runs the action on a draft. Raises UnknownAction or Invalid."""
        found = self._actions.get(name)
        if found is None:
            raise UnknownAction(f"{self.name} has no action {name!r:.60}")
        return found.bind(self, session, args)

    def bind_write(self, values: Mapping[str, Any], deleted: Sequence[str]) -> Run:
        """A function that sets and deletes keys on a draft. Raises Invalid."""
        for key in (*values, *deleted):
            if key not in self.writable:
                raise Invalid(f"members may not write {key!r:.60} in {self.name}")
        checked = {key: _converted(value, self.writable[key]) for key, value in values.items()}

        def write(draft: Draft) -> None:
            draft.update(checked)
            for key in deleted:
                draft.pop(key, None)

        return write
