"""`client/rooms.d.ts`: what browsers know of the rooms."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from types import new_class
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar, Union
from uuid import UUID

import pytest
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, inspect
from msgspec.msgpack import Ext

from gospa import Access, Caller, Event, Items, Member, Room, Session, State, Writable, command
from gospa import action as action_
from gospa.errors import DefinitionError
from gospa.store.values import ValueType
from gospa.types import declarations
from tests.gospa.rooms import ROOMS

TABLE = Path(__file__).parents[2] / "docs/types.md"
T = TypeVar("T")


class Color(Enum):
    RED = "red"
    BLUE = "it's blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: float
    y: float


class Size(TypedDict, total=False):
    width: float


@dataclass
class Owner:
    name: str
    age: int | None = None


class Tree(Struct):
    label: str
    below: "list[Tree]" = []


class Circle(Struct, tag="circle", tag_field="shape", rename="camel"):
    outer_radius: float
    note: str | UnsetType = UNSET


class Box(Struct, Generic[T]):
    content: T


def room_of(*kinds: Any) -> str:
    """The declarations of a room with a field of each type."""
    hints = {f"f{n}": Union[kind, None] for n, kind in enumerate(kinds)}  # noqa: UP007 - or None
    values: dict[str, Any] = dict.fromkeys(hints)
    made: Any = type("MadeState", (State,), {"__annotations__": hints, **values})

    class Made(Room[made]):
        pattern = "made"

        async def authorize(self, session: Session) -> Access:
            return Access.FULL

    return declarations([Made])


def typed(kind: Any) -> str:
    """The type of a field, without the `| null` that gives it a default."""
    (found,) = re.findall(r"^  readonly f0: (.*) \| null;$", room_of(kind), re.MULTILINE)
    text: str = found
    return text


# Values


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (str, "string"),
        (bool, "boolean"),
        (float, "number"),
        (int, "number | bigint"),
        (Annotated[int, Meta(ge=0)], "number | bigint"),
        (Annotated[int, Meta(ge=0, le=2**53)], "number | bigint"),
        (Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)], "number"),
        (Annotated[int, Meta(gt=-1, lt=6)], "number"),
        (bytes, "Uint8Array"),
        (datetime, "Date"),
        (date, "string"),
        (UUID, "string"),
        (Decimal, "string"),
        (list[str], "readonly string[]"),
        (list[str | int], "readonly (string | number | bigint)[]"),
        (list[list[str]], "readonly (readonly string[])[]"),
        (set[str], "readonly string[]"),
        (frozenset[float], "readonly number[]"),
        (Sequence[str], "readonly string[]"),
        (tuple[str, ...], "readonly string[]"),
        (tuple[str, float], "readonly [string, number]"),
        (Point, "readonly [number, number]"),
        (dict[str, bool], "Readonly<Record<string, boolean>>"),
        (Literal["a", "b'c", 3], "3 | 'a' | 'b\\'c'"),
        (Literal[2**60], f"{2**60}n"),
        (str | bool, "string | boolean"),
        (Annotated[str, Meta(title="a title")], "string"),
        (Color, "Color"),
        (Tree, "Tree"),
        (Box[int], "Box_int"),
    ],
)
def test_each_type_has_one_in_the_browser(kind: Any, text: str) -> None:
    assert typed(kind) == text


def test_the_documented_table_is_right() -> None:
    """Each type of its first column becomes that of the second one."""
    _, table = TABLE.read_text(encoding="utf-8").split("| Python | TypeScript | |\n")
    rows = re.findall(r"^\| (`.*?`) \| `(.*?)` \|", table.replace(r"\|", "¦"), re.MULTILINE)
    assert len(rows) > 10
    for kinds, text in rows:
        for kind in re.findall("`(.*?)`", kinds):
            if kind != "Any":
                found = typed(eval(kind.replace("¦", "|")))  # noqa: S307 - of the page
                assert found == text.replace("¦", "|"), kind


def test_anything_is_unknown() -> None:
    assert "readonly f0: unknown;" in room_of(Any)


def test_a_struct_is_an_interface_whose_fields_with_defaults_may_be_missing() -> None:
    assert (
        "export interface Tree {\n"
        "  readonly label: string;\n"
        "  readonly below?: readonly Tree[];\n"
        "}\n"
    ) in room_of(Tree)


def test_fields_have_the_names_that_they_have_on_the_wire() -> None:
    assert (
        "export interface Circle {\n"
        "  readonly shape: 'circle';\n"
        "  readonly outerRadius: number;\n"
        "  readonly note?: string;\n"
        "}\n"
    ) in room_of(Circle)


def test_a_class_is_declared_once_and_before_what_is_made_of_it() -> None:
    text = room_of(list[Tree], Tree, Owner, Size, Color, Level)
    for name in ("Tree", "Owner", "Size"):
        assert text.count(f"export interface {name} ") == 1
    assert text.index("interface Tree ") < text.index("interface MadeState ")
    assert "export type Color = 'red' | 'it\\'s blue';" in text
    assert "export type Level = 1 | 2;" in text
    assert "  readonly width?: number;" in text
    assert "  readonly age?: number | bigint | null;" in text


def test_two_classes_of_one_name_are_refused_with_both() -> None:
    class Tree(Struct):
        height: float

    Other = Tree  # noqa: N806 - a class
    with pytest.raises(DefinitionError, match=r"test_types\.Tree and .*<locals>\.Tree .*one name"):
        room_of(globals()["Tree"], Other)


def test_a_class_may_not_have_a_name_that_the_file_uses() -> None:
    kind: Any = type("Date", (Struct,), {"__annotations__": {"day": str}})
    with pytest.raises(DefinitionError, match=r"test_types\.Date: rename it"):
        room_of(kind)


def test_every_type_is_in_the_table_or_refused() -> None:
    """Those of this version of msgspec."""
    kinds: list[Any] = [Any, None, bool, int, float, str, bytes, datetime, date, time, UUID]
    kinds += [Decimal, Color, Literal[1], int | str, tuple[int, ...], tuple[int], list[int]]
    kinds += [set[int], frozenset[int], dict[str, int], Tree, Owner, Size, Point]
    kinds += [Annotated[int, Meta(title="x")]]
    refused: list[Any] = [bytearray, memoryview, timedelta, Ext, Raw, object]
    for kind in kinds:
        assert room_of(kind)
    for kind in refused:
        with pytest.raises(DefinitionError):
            ValueType(kind, "field")
    known = {type(inspect.type_info(kind)) for kind in [*kinds, *refused]}
    abstract = {inspect.Type, inspect.CollectionType}
    abstract |= {getattr(inspect, "FrozenDictType", inspect.Type)}  # of Python 3.15
    found = {each for each in vars(inspect).values() if isinstance(each, type)}
    assert {each for each in found - abstract if issubclass(each, inspect.Type)} == known


# Rooms


class Toast(Struct):
    text: str


class ShopState(State):
    open: Writable[bool] = True
    visits: int = 0
    orders: Items[Toast] = Items()


class Shop(Room[ShopState]):
    pattern = "shop/<town>/<name>"
    presence = True
    toast = Event(Toast, server=True)
    wave = Event(object)

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action_
    def order(self, state: ShopState, member: Member, what: str, many: float = 1) -> str | None: ...

    @action_
    def clear(self, state: ShopState): ...  # type: ignore[no-untyped-def] # noqa: ANN201 - see below

    @action_(server=True)
    def mark_paid(self, state: ShopState, secret: timedelta) -> None: ...

    @command
    async def pay(self, caller: Caller, card: str) -> Toast:
        return Toast(card)


def test_a_room_says_what_its_members_may_do() -> None:
    assert (
        "export interface Shop {\n"
        "  state: ShopState;\n"
        "  writes: 'open';\n"
        "  actions: {\n"
        "    clear: [args: Record<string, never>, result: unknown];\n"
        "    order: [args: { what: string; many?: number }, result: string | null];\n"
        "  };\n"
        "  commands: {\n"
        "    pay: [args: { card: string }, result: Toast];\n"
        "  };\n"
        "  events: {\n"
        "    toast: Toast;\n"
        "    wave: unknown;\n"
        "  };\n"
        "  sends: 'wave';\n"
        "  presence: true;\n"
        "}\n"
    ) in declarations([Shop])


def test_a_state_has_fields_and_read_only_maps_of_items() -> None:
    assert (
        "export interface ShopState {\n"
        "  readonly open: boolean;\n"
        "  readonly visits: number | bigint;\n"
        "  readonly orders: ReadonlyMap<string, Toast>;\n"
        "}\n"
    ) in declarations([Shop])


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (timedelta, r"Refusing.wait\.by: .*number of seconds"),
        (dict[int, str], r"Refusing.wait\.by: keys of a dict are text"),
        (dict, r"Refusing.wait\.by: keys of a dict are text"),
    ],
)
def test_an_argument_that_browsers_cannot_send_is_refused_with_its_place(
    kind: Any, problem: str
) -> None:
    class Refusing(Room[ShopState]):
        pattern = "refusing"

        async def authorize(self, session: Session) -> Access:
            return Access.FULL

        @action_
        def wait(self, state: ShopState, by: kind) -> None: ...

    with pytest.raises(DefinitionError, match=problem):
        declarations([Refusing])


# Names


def kind_of(name: str, pattern: str) -> Any:
    async def authorize(self: Any, session: Session) -> Access:
        return Access.FULL

    members = {"pattern": pattern, "authorize": authorize}
    return new_class(name, (Room[ShopState],), exec_body=lambda body: body.update(members))


def names(*kinds: Any) -> list[str]:
    known = declarations(kinds).partition("interface GospaRooms {\n")[2]
    return [line.strip() for line in known.splitlines() if line.startswith("    ")]


def test_rooms_are_found_by_their_patterns() -> None:
    assert names(Shop, kind_of("Home", "home"), kind_of("News", "news/all.of-it")) == [
        "'shop/<town>/<name>': Shop;",
        "home: Home;",
        "'news/all.of-it': News;",
    ]


def test_without_rooms_there_is_nothing_to_declare() -> None:
    assert declarations([]) == ""


def test_the_same_rooms_give_the_same_text() -> None:
    assert declarations(ROOMS) == declarations(ROOMS)
    assert "import('./rooms.js').Sheet" in declarations(ROOMS)
