"""The types of rooms in the browser: from their classes to the text of `client/rooms.d.ts`.

`docs/types.md` has the table of types.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from inspect import Signature
from typing import Any

from msgspec import inspect

from gospa.action import Action
from gospa.command import Command
from gospa.errors import DefinitionError
from gospa.room import Room
from gospa.state import State
from gospa.store.values import parts_of, refusal

HEADER = """\
// Made from the classes in rooms/ by `make types`: do not edit it. docs/types.md says more.
//
// It adds the application's rooms to the interface GospaRooms, where the client looks names up:
// `connect().room('{example}')` has the types of {kind} without an import. A name of the type
// string, such as one made while the page runs, gives an untyped room. A script may name types:
// /** @typedef {{import('./rooms.js').{kind}}} {kind} */
"""
MAX_NUMBER = 2**53 - 1  # the largest exact number in JavaScript; larger ones become BigInt
_TEXT = (
    *(inspect.StrType, inspect.DateType, inspect.TimeType, inspect.UUIDType),
    inspect.DecimalType,
)
_NAMED = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)
_SIMPLE: Mapping[type[inspect.Type], str] = {
    inspect.AnyType: "unknown",
    inspect.NoneType: "null",
    inspect.BoolType: "boolean",
    inspect.FloatType: "number",
    inspect.BytesType: "Uint8Array",
    inspect.DateTimeType: "Date",
    **dict.fromkeys(_TEXT, "string"),
}
# Names that the file uses, or that TypeScript does not let one declare.
_RESERVED = {
    *("Date", "GospaRooms", "Readonly", "ReadonlyMap", "Record", "Uint8Array"),
    *("any", "bigint", "boolean", "never", "null", "number", "object", "string", "symbol"),
    *("undefined", "unknown", "void"),
}
_PARAMETER = re.compile(r"<[a-z_]+>")


def declarations(kinds: Sequence[type[Room[Any]]]) -> str:
    """The text of `client/rooms.d.ts`, "" without rooms.

    Raises DefinitionError for types that browsers cannot represent.
    """
    if not kinds:
        return ""
    types = _Types()
    for kind in kinds:
        types.add_room(kind)
    first = kinds[0]
    header = HEADER.format(example=_PARAMETER.sub("x", first.pattern), kind=first.__name__)
    rooms = "".join(f"    {_key(kind.pattern)}: {kind.__name__};\n" for kind in kinds)
    known = f"declare global {{\n  interface GospaRooms {{\n{rooms}  }}\n}}\n"
    return "\n".join([header, *types.texts, known])


class _Types:
    """Declares each class once, after the classes that it uses."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._owners: dict[str, Any] = {}

    def add_room(self, kind: type[Room[Any]]) -> None:
        self._state(kind.state)
        self._claim(kind.__name__, kind)
        schema = kind.state.schema()
        actions = [each for each in kind.actions.values() if not each.server]
        commands = list(kind.commands.values())
        events = {
            name: self._given(each.kind, f"{kind.__name__}.{name}")
            for name, each in kind.events.items()
        }
        self._declare(
            kind.__name__,
            {
                "state": kind.state.__name__,
                "writes": _either(_text(k) for k, each in schema.fields.items() if each.writable),
                "actions": _block({each.name: self._call(each) for each in actions}),
                "commands": _block({each.name: self._call(each) for each in commands}),
                "events": _block(events),
                "sends": _either(_text(k) for k, each in kind.events.items() if not each.server),
                "presence": "true" if kind.presence else "false",
            },
        )

    def _state(self, state: type[State]) -> None:
        if not self._claim(state.__name__, state):
            return
        schema = state.schema()
        members = {
            f"readonly {_key(name)}": self._type(inspect.type_info(each.type.kind), each.type.where)
            for name, each in schema.fields.items()
        }
        for name, items in schema.collections.items():
            kind = self._type(inspect.type_info(items.item_type.kind), items.item_type.where)
            members[f"readonly {_key(name)}"] = f"ReadonlyMap<string, {kind}>"
        self._declare(state.__name__, members)

    def _call(self, called: Action[..., Any, ...] | Command[..., Any, ...]) -> str:
        """`[args, result]` of an action or a command."""
        where = f"{called.owner.__name__}.{called.name}"
        info = inspect.type_info(called.signature.arguments)
        assert isinstance(info, inspect.StructType)  # noqa: S101 - for mypy
        args = [
            f"{_key(each.name)}{'' if each.required else '?'}: "
            f"{self._type(each.type, f'{where}.{each.name}')}"
            for each in info.fields
        ]
        given = f"{{ {'; '.join(args)} }}" if args else "Record<string, never>"
        return f"[args: {given}, result: {self._given(called.signature.result, where)}]"

    def _given(self, kind: Any, where: str) -> str:
        """The type of a value that is sent and not stored: a payload, or a result."""
        if kind in (object, Signature.empty):
            return "unknown"
        try:
            return self._type(inspect.type_info(kind), where)
        except TypeError as error:
            raise DefinitionError(f"{where}: {error}") from error

    def _type(self, info: inspect.Type, where: str) -> str:
        if problem := refusal(info):
            raise DefinitionError(f"{where}: {problem}")
        if text := _plain(info):
            return text
        if isinstance(info, inspect.EnumType):
            return self._enum(info)
        if isinstance(info, _NAMED):
            return self._object(info)
        return _composed(info, [self._type(each, where) for each in parts_of(info)])

    def _enum(self, info: inspect.EnumType) -> str:
        name = info.cls.__name__
        if self._claim(name, info.cls):
            values = _either(_literal(each.value) for each in info.cls)
            self.texts.append(f"export type {name} = {values};\n")
        return name

    def _object(self, info: Any) -> str:
        name = _class_name(info.cls)
        if self._claim(name, info.cls):
            tag = {}
            if isinstance(info, inspect.StructType) and info.tag_field is not None:
                tag[f"readonly {_key(info.tag_field)}"] = _literal(info.tag)
            fields = {
                # Objects that were stored before the field was added lack it.
                f"readonly {_key(each.encode_name)}{'' if each.required else '?'}": self._type(
                    each.type, f"{name}.{each.name}"
                )
                for each in info.fields
            }
            self._declare(name, {**tag, **fields})
        return name

    def _declare(self, name: str, members: Mapping[str, str]) -> None:
        lines = "".join(f"  {key}: {text};\n" for key, text in members.items())
        self.texts.append(f"export interface {name} {{\n{lines}}}\n")

    def _claim(self, name: str, owner: Any) -> bool:
        """Whether a name is new. Raises DefinitionError if two classes have it."""
        if name in _RESERVED:
            raise DefinitionError(f"{_whole(owner)}: rename it, rooms.d.ts has this name already")
        is_new = name not in self._owners
        known = self._owners.setdefault(name, owner)
        if known != owner:
            raise DefinitionError(
                f"{_whole(known)} and {_whole(owner)} have one name in rooms.d.ts: rename one"
            )
        return is_new


def _plain(info: inspect.Type) -> str | None:
    match info:
        case inspect.IntType():
            return _integer(info)
        case inspect.LiteralType():
            return _either(map(_literal, info.values))
        case _:
            return _SIMPLE.get(type(info))


def _composed(info: inspect.Type, parts: Sequence[str]) -> str:
    """A composite type. `readonly`, because clients freeze the values that they receive."""
    match info:
        case inspect.UnionType():
            return "unknown" if "unknown" in parts else _either(parts)
        case inspect.TupleType() | inspect.NamedTupleType():
            return f"readonly [{', '.join(parts)}]"
        case _ if hasattr(info, "value_type"):
            return f"Readonly<Record<string, {parts[-1]}>>"
        case inspect.Metadata():
            return parts[0]
        case _:
            return f"readonly {f'({parts[0]})' if ' ' in parts[0] else parts[0]}[]"


def _integer(info: inspect.IntType) -> str:
    """The decoder gives a BigInt where a number would not be exact."""
    lowest = info.ge if info.ge is not None else info.gt
    highest = info.le if info.le is not None else info.lt
    if lowest is None or highest is None or lowest < -MAX_NUMBER or highest > MAX_NUMBER:
        return "number | bigint"
    return "number"


def _block(members: Mapping[str, str]) -> str:
    lines = "".join(f"    {_key(name)}: {text};\n" for name, text in members.items())
    return f"{{\n{lines}  }}" if lines else "{}"


def _either(types: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(types)) or "never"


def _literal(value: Any) -> str:
    match value:
        case None:
            return "null"
        case str():
            return _text(value)
        case _:
            return str(value) if abs(value) <= MAX_NUMBER else f"{value}n"


def _text(value: str) -> str:
    inner = json.dumps(value)[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"'{inner}'"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else _text(name)


def _class_name(kind: Any) -> str:
    """`Box_int` for `Box[int]`."""
    name = getattr(kind, "__name__", "") or re.sub(r"\W+", "_", str(kind))
    args = [_class_name(each) for each in getattr(kind, "__args__", ())]
    return "_".join([name, *args])


def _whole(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
