"""Typed values over encoded ones: decoded when read, checked and encoded when changed."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, get_origin

import msgspec
from msgspec import inspect

from gospa.errors import DefinitionError, StoreCorrupt
from gospa.store.alarms import ALARM, encoded_wait
from gospa.store.codec import CodecError, check, encode
from gospa.store.draft import Draft

NATIVE = (bytes, datetime)  # types that msgpack has in addition to those of JSON
MISSING: Any = object()
_IMMUTABLE = (
    *(inspect.NoneType, inspect.BoolType, inspect.IntType, inspect.FloatType, inspect.StrType),
    *(inspect.BytesType, inspect.DateTimeType, inspect.DateType, inspect.TimeType),
    *(inspect.UUIDType, inspect.DecimalType, inspect.EnumType, inspect.LiteralType),
    *(inspect.UnionType, inspect.TupleType, inspect.VarTupleType, inspect.Metadata),
)
# Types with fields may be recursive.
_CLASSES = (
    inspect.StructType | inspect.DataclassType | inspect.TypedDictType | inspect.NamedTupleType
)

# Types whose values are stored as they are.
_PLAIN = (
    *(inspect.AnyType, inspect.NoneType, inspect.BoolType, inspect.IntType, inspect.FloatType),
    *(inspect.StrType, inspect.BytesType, inspect.DateTimeType, inspect.ListType),
    *(inspect.DictType, inspect.UnionType, inspect.Metadata),
)
_TEXT = inspect.StrType()
_NO_VALUE = "this is not a type of values that browsers know"
_REFUSED: Mapping[type[inspect.Type], str] = {
    inspect.TimeDeltaType: "a timedelta is stored as text: use a number of seconds",
    **dict.fromkeys((inspect.ByteArrayType, inspect.MemoryViewType), "use bytes"),
    **dict.fromkeys((inspect.ExtType, inspect.RawType, inspect.CustomType), _NO_VALUE),
}


class ValueType:
    """A type that values in a room's state may have.

    Raises DefinitionError, which names `where` it was found, if state cannot hold it.
    """

    def __init__(self, kind: Any, where: str) -> None:
        self.kind, self.where = kind, where
        try:
            self._decoder = msgspec.msgpack.Decoder(kind)
            info = inspect.type_info(kind)
        except TypeError as error:
            raise DefinitionError(f"{where}: {error}") from error
        parts = list(_parts(info, set()))
        if problems := [problem for part in parts if (problem := refusal(part))]:
            raise DefinitionError(f"{where}: {problems[0]}")
        self.mutable = not all(map(_is_immutable, parts))
        # The codec has to check values of these types: msgspec accepts more, or they may nest.
        classes = [part.cls for part in parts if isinstance(part, _CLASSES)]
        self._open = any(isinstance(part, inspect.AnyType) for part in parts) or _twice(classes)
        self._plain = self._open and all(isinstance(part, _PLAIN) for part in parts)
        self._floats = any(isinstance(part, inspect.FloatType) for part in parts)
        self._exact = kind if kind in (int, str, bool, float) else None

    def decode(self, raw: bytes, key: str) -> Any:
        """The value that is stored under a key. Raises StoreCorrupt if it is not of this type."""
        try:
            return self._decoder.decode(raw)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:  # or not UTF-8
            text = f"the stored value of {key} does not fit {self.where}: {error}; write `migrate`"
            raise StoreCorrupt(text) from error

    def encode(self, value: Any) -> bytes:
        """The value as it is stored. Raises CodecError unless it is one of this type."""
        try:
            if type(value) is self._exact:
                return encode(value)
            if self._plain:
                check(value)  # before msgspec converts it to text or a list
            plain = msgspec.to_builtins(value, builtin_types=NATIVE)
            if self._open:
                check(plain)
            raw = encode(plain)
            stored = self._decoder.decode(raw)  # it checks decoded values, not assigned ones
            if self._floats:  # an assigned int may be too large for a browser
                raw = self._encoded(stored)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            raise CodecError(f"{self.where} cannot hold {value!r:.80}: {error}") from error
        return raw

    def changed(self, value: Any, raw: bytes) -> bool:
        """Whether a value that was decoded from `raw` has changed since."""
        try:
            now = self._encoded(value)
        except (TypeError, ValueError, OverflowError):
            return True  # and `encode` says why it cannot be stored
        # `raw` may have been stored when its Struct had fewer fields.
        return now != raw and now != self._encoded(self._decoder.decode(raw))

    @staticmethod
    def _encoded(value: Any) -> bytes:
        return encode(msgspec.to_builtins(value, builtin_types=NATIVE))


class Values:
    """The decoded values of a draft. `finish` finds values that were changed in place."""

    __slots__ = ("_cache", "draft", "frozen")

    def __init__(self, draft: Draft, *, frozen: bool = False) -> None:
        self.draft, self.frozen = draft, frozen
        self._cache: dict[str, tuple[ValueType, Any, bytes]] = {}

    def read(self, key: str, kind: ValueType, default: bytes | None = None) -> Any:
        """The value of a key, or that of `default`; MISSING without either."""
        if key in self._cache:
            return self._cache[key][1]
        raw = self.draft.get(key)
        raw = default if raw is None else raw
        if raw is None:
            return MISSING
        value = kind.decode(raw, key)
        self._cache[key] = (kind, value, raw)
        return value

    def write(self, key: str, kind: ValueType, value: Any) -> None:
        """Set a key. Raises CodecError."""
        self._check_frozen()
        raw = kind.encode(value)
        self.draft.set(key, raw)
        self._cache[key] = (kind, value, raw)

    def remove(self, key: str) -> None:
        """Delete a key."""
        self._check_frozen()
        self._cache.pop(key, None)
        self.draft.delete(key)

    def wake(self, milliseconds: int | None) -> None:
        """Set the wait from the commit to the room's alarm, or cancel it."""
        self._check_frozen()
        if milliseconds is None:
            self.draft.discard(ALARM)
        else:
            self.draft.set(ALARM, encoded_wait(milliseconds))

    def finish(self) -> None:
        """Set the keys whose values were changed in place. Raises CodecError."""
        for key, (kind, value, raw) in self._cache.items():
            if kind.mutable and kind.changed(value, raw):
                self._check_frozen()
                self.draft.set(key, kind.encode(value))

    def _check_frozen(self) -> None:
        if self.frozen:
            raise TypeError("this state was read and cannot be changed: call an action")


def parts_of(info: inspect.Type) -> list[inspect.Type]:
    """The types that a type contains directly."""
    found = [getattr(info, name, None) for name in ("type", "item_type", "key_type", "value_type")]
    found += [*getattr(info, "item_types", ()), *getattr(info, "types", ())]
    found += [each.type for each in getattr(info, "fields", ())]
    return [each for each in found if isinstance(each, inspect.Type)]


def _parts(info: inspect.Type, seen: set[Any]) -> Iterator[inspect.Type]:
    """A type and all types that it contains."""
    yield info
    if isinstance(info, _CLASSES):
        if info.cls in seen:
            return
        seen.add(info.cls)
    for each in parts_of(info):
        yield from _parts(each, seen)


def _twice(kinds: Sequence[Any]) -> bool:
    return len(set(kinds)) < len(kinds)


def refusal(info: inspect.Type) -> str | None:
    """Why state cannot hold a type, regardless of the types that it contains; or None."""
    match info:
        case inspect.StructType(array_like=True):
            return f"{info.cls.__name__} is array_like, which browsers would see as a list"
        case _ if not isinstance(getattr(info, "key_type", _TEXT), inspect.StrType):
            return "keys of a dict are text (str)"
        case inspect.DateTimeType(tz=False):
            return "a datetime has a time zone, or msgpack cannot carry it"
        case _:
            return _REFUSED.get(type(info))


def _is_immutable(info: inspect.Type) -> bool:
    """Whether values of a type are immutable, provided that the values in them are."""
    if isinstance(info, inspect.StructType):
        kind = get_origin(info.cls) or info.cls
        return bool(kind.__struct_config__.frozen)
    return isinstance(info, _IMMUTABLE)
