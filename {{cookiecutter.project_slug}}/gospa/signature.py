"""Signatures of actions and commands: their arguments are checked against annotations."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Self, TypeVar, get_args, overload

import msgspec

from gospa.errors import DefinitionError, Invalid
from gospa.sessions.session import Session
from gospa.store.codec import CodecError, check
from gospa.store.values import NATIVE

Q = ParamSpec("Q")  # all parameters after the room
V_co = TypeVar("V_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Signature:
    """The arguments that callers pass, and whether the server passes another one."""

    name: str
    arguments: type[msgspec.Struct]
    injected: bool
    result: Any = None

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by the application, as a client would send them.

        Raises Invalid.
        """
        names = self.arguments.__struct_fields__
        given = dict(zip(names, args, strict=False))
        if len(args) > len(names) or given.keys() & kwargs:
            raise Invalid(f"{self.name} takes {', '.join(names) or 'no arguments'}, each once")
        given |= kwargs
        try:
            return {key: plain(value, f"{self.name}: {key}") for key, value in given.items()}
        except CodecError as error:
            raise Invalid(str(error)) from error

    def checked(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as values of their types. Raises Invalid."""
        return msgspec.structs.asdict(converted(args, self.arguments, self.name))


class Method(Generic[Q, V_co]):
    """A declared method: `Room.name` is this description of it, `room.name` the bound method."""

    signature: Signature

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.owner: type = object

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    @overload
    def __get__(self, room: None, kind: type, /) -> Self: ...
    @overload
    def __get__(self, room: object, kind: type, /) -> Callable[Q, V_co]: ...
    def __get__(self, room: object | None, kind: type, /) -> Any:
        return self if room is None else self.function.__get__(room, kind)

    @property
    def where(self) -> str:
        """Its name in error messages."""
        return f"{self.owner.__name__}.{self.name}"


def read_signature(
    function: Callable[..., Any],
    where: str,
    *,
    first: type | None,
    injected: type,
    known: tuple[type, ...] = (Session,),
) -> Signature:
    """The signature of a method whose parameters are self, the state if `first`, then arguments.

    The first argument may have the type `injected`. Raises DefinitionError, also if another
    argument has one of the types `known`, whose values come from the server, never from a client.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise DefinitionError(f"{where}: {error}; define the types at module level") from error
    parameters = list(signature.parameters.values())[1:]
    if first is not None:
        if not parameters or not _takes(parameters[0].annotation, first):
            raise DefinitionError(f"{where} takes `state: {first.__name__}` first")
        parameters = parameters[1:]
    inject = bool(parameters) and parameters[0].annotation is injected
    if inject and parameters[0].name != injected.__name__.lower():
        name = injected.__name__
        raise DefinitionError(f"{where}: call it `{name.lower()}: {name}`, as type checkers do")
    parameters = parameters[1:] if inject else parameters
    for parameter in parameters:
        _check_argument(parameter, where, injected, known)
    name = where.rpartition(".")[2]
    fields = [(p.name, p.annotation, _default(p)) for p in parameters]
    try:
        arguments = msgspec.defstruct(f"{name}_arguments", fields, forbid_unknown_fields=True)
    except TypeError as error:  # such as a default that is a list, which all calls would share
        raise DefinitionError(f"{where}: {error}") from error
    return Signature(name, arguments, inject, signature.return_annotation)


def _check_argument(
    p: inspect.Parameter, where: str, injected: type, known: tuple[type, ...]
) -> None:
    if p.kind is not p.POSITIONAL_OR_KEYWORD:
        raise DefinitionError(f"{where} takes *args or **kwargs: name each argument")
    if p.annotation is p.empty:
        raise DefinitionError(f"{where}: annotate {p.name}")
    if _mentions(p.annotation, (injected, *known)):  # otherwise a client would send it
        name = injected.__name__
        raise DefinitionError(f"{where}: `{name.lower()}: {name}` comes before the arguments")


def converted(value: Any, kind: Any, where: str) -> Any:
    """The value, converted to a type. Raises Invalid."""
    try:
        return msgspec.convert(value, kind, builtin_types=NATIVE)
    except msgspec.ValidationError as error:
        raise Invalid(f"{where}: {error}") from error


def plain(value: Any, where: str) -> Any:
    """The value, converted for the wire. Raises CodecError."""
    if value is None:  # as most actions return
        return None
    try:
        value = msgspec.to_builtins(value, builtin_types=NATIVE)
    except (TypeError, ValueError, RecursionError) as error:
        raise CodecError(f"{where}: {error}") from error
    check(value, where, tuples=True)
    return value


def _default(parameter: inspect.Parameter) -> Any:
    return msgspec.NODEFAULT if parameter.default is parameter.empty else parameter.default


def _takes(annotation: Any, state: type) -> bool:
    """Whether a parameter can be the state: it has the state's class, or a superclass."""
    return isinstance(annotation, type) and issubclass(state, annotation)


def _mentions(annotation: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a type is one of these, or contains one, such as `Member | None`."""
    return annotation in kinds or any(_mentions(part, kinds) for part in get_args(annotation))
