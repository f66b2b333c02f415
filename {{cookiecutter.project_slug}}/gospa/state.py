"""The typed state of a room."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Self,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from gospa.errors import DefinitionError
from gospa.items import Items
from gospa.store.codec import CodecError
from gospa.store.content import Content
from gospa.store.draft import Draft
from gospa.store.values import Values, ValueType

T = TypeVar("T")
LONGEST_WAIT = 10 * 365 * 86_400.0  # seconds


class _Mark:
    """Marks a field that members may set."""


Writable = Annotated[T, _Mark()]


class Field:
    """A field of a State: reads and writes one key."""

    def __init__(self, name: str, hint: Any, default: Any, where: str) -> None:
        self.name = name
        self.writable = any(isinstance(each, _Mark) for each in getattr(hint, "__metadata__", ()))
        self.type = ValueType(hint, where)
        try:
            self.default = self.type.encode(default)
        except CodecError as error:
            raise DefinitionError(f"the default of {where}: {error}") from error

    def __get__(self, state: Any, kind: type) -> Any:
        if state is None:
            return self
        return state.__dict__["_values"].read(self.name, self.type, self.default)

    def __set__(self, state: Any, value: Any) -> None:
        state.__dict__["_values"].write(self.name, self.type, value)

    def __delete__(self, state: Any) -> None:
        state.__dict__["_values"].remove(self.name)


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields and collections of a State."""

    fields: Mapping[str, Field]
    collections: Mapping[str, Items[Any]]
    defaults: Mapping[str, bytes]


@dataclass_transform(kw_only_default=True)
class State:
    """The state of a room. Subclass it; each field has a type and a default.

        class PollState(State):
            votes: int = 0
            title: Writable[str] = "Lunch"    # members may set it
            options: Items[Option] = Items()  # a collection

    Types are those of msgspec: text, numbers, bytes, datetimes with a time zone, lists, dicts with
    text as keys, and Structs. A value may be changed in place: `state.options[id].text = "new"`. It
    is checked against its type before it is stored. A field that was not set has its default, which
    is not stored; `del state.title` resets it to the default.

    Reading a field conflicts with its writers, and so does `state.votes += 1`. Assigning without
    reading never conflicts: the last writer wins. docs/rooms.md has a table of conflicts.
    """

    _schema: ClassVar[Schema]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "schema" in vars(cls):  # through which the engine finds everything else
            raise DefinitionError(f"{cls.__name__}.schema: rename it, the name is not free")

    def __init__(self, **values: Any) -> None:
        self._bind(Values(Draft(Content({}, {}))))
        for name, value in values.items():
            setattr(self, name, value)

    @classmethod
    def of(cls, draft: Draft, *, frozen: bool = False) -> Self:
        """The state of a draft. A frozen one can only be read."""
        state = object.__new__(cls)
        state._bind(Values(draft, frozen=frozen))
        return state

    @classmethod
    def schema(cls) -> Schema:
        """Its fields and collections. Raises DefinitionError if they are defined wrongly."""
        if "_schema" not in cls.__dict__:
            cls._schema = _define(cls)
        return cls._schema

    def wake(self, *, after: float | None) -> None:
        """Run the room's `@alarm` in `after` seconds, instead of an earlier time; None cancels it.

        The store's clock counts the time, and the alarm runs within about a second of it.
        """
        if after is not None and not 0 <= after <= LONGEST_WAIT:
            raise ValueError(f"wake(after={after}): use 0 to {LONGEST_WAIT:.0f} seconds, or None")
        values_of(self).wake(None if after is None else round(after * 1000))

    if not TYPE_CHECKING:  # type checkers would allow all names because of it

        def __setattr__(self, name: str, value: Any) -> None:
            schema = type(self).schema()
            if name not in schema.fields and name not in schema.collections:
                known = difflib.get_close_matches(name, [*schema.fields, *schema.collections], 1)
                hint = f": did you mean {known[0]}?" if known else ""
                raise AttributeError(f"{type(self).__name__} has no field {name}{hint}")
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        schema = type(self).schema()
        shown = [
            f"{name}={getattr(self, name)!r}" for name in (*schema.fields, *schema.collections)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _bind(self, values: Values) -> None:
        type(self).schema()
        self.__dict__["_values"] = values


def values_of(state: State) -> Values:
    """The values of a state, with its draft."""
    values: Values = state.__dict__["_values"]
    return values


def _define(cls: type[State]) -> Schema:
    """Read the annotations of a State, and make its fields descriptors."""
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as error:
        text = f"{cls.__name__}: {error}; define the types of its fields at module level"
        raise DefinitionError(text) from error
    for name, given in ((k, v) for each in cls.__mro__ for k, v in vars(each).items()):
        if isinstance(given, Items) and name not in hints:
            raise DefinitionError(f"{cls.__name__}.{name} needs a type: `{name}: Items[...]`")
    fields, collections = dict[str, Field](), dict[str, Items[Any]]()
    for name, hint in hints.items():
        where = f"{cls.__name__}.{name}"
        if hint is ClassVar or get_origin(hint) is ClassVar:
            continue
        _check_name(name, where)
        given = next((vars(each)[name] for each in cls.__mro__ if name in vars(each)), None)
        if get_origin(hint) is Items:
            collections[name] = _collection(where, name, hint, given)
        elif isinstance(given, Field):
            fields[name] = given  # of a superclass
        elif not hasattr(cls, name):
            raise DefinitionError(f"{where} needs a default, for rooms in which it is not set")
        else:
            fields[name] = Field(name, hint, given, where)
            setattr(cls, name, fields[name])
    return Schema(fields, collections, {name: each.default for name, each in fields.items()})


def _check_name(name: str, where: str) -> None:
    if name.startswith("_"):
        text = "a field's name begins with a letter; annotate other attributes as ClassVar"
        raise DefinitionError(f"{where}: {text}")
    if name in _TAKEN:
        raise DefinitionError(f"{where}: rename it, the name is not free")


def _collection(where: str, name: str, hint: Any, given: Any) -> Items[Any]:
    if not isinstance(given, Items):
        raise DefinitionError(f"{where} needs a default: `= Items()`")
    (kind,) = get_args(hint)
    if not given.name:
        given.define(name, ValueType(kind, where))
    elif given.name != name or given.item_type.kind != kind:
        raise DefinitionError(f"{where} needs Items() of its own")
    return given


_TAKEN = frozenset(dir(State))
