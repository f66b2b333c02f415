"""The types that values of a state may have."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Generic, TypeVar

import pytest
from msgspec import Meta, Struct

from gospa.errors import DefinitionError
from gospa.store.values import ValueType

T = TypeVar("T")


class Tree(Struct, frozen=True):
    left: "Tree | None" = None


class Box(Struct, Generic[T]):
    content: T


@dataclass
class Folder:
    folders: "list[Folder]"


class Row(Struct, array_like=True):
    cells: list[str]


@pytest.mark.parametrize(
    ("kind", "mutable"),
    [(Tree, False), (Box[int], True), (Folder, True), (tuple[Tree, ...], False), (list[int], True)],
)
def test_it_is_known_which_values_change_in_place(kind: Any, mutable: bool) -> None:
    assert ValueType(kind, "State.field").mutable is mutable


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Row, "Row is array_like"),
        (list[Row], "Row is array_like"),
        (dict[int, str], "keys of a dict are text"),
        (dict[str, timedelta], "use a number of seconds"),
        (bytearray, "use bytes"),
        (Annotated[datetime, Meta(tz=False)], "a datetime has a time zone"),
        (object, "not a type of values"),
    ],
)
def test_types_that_state_cannot_hold_are_refused_with_their_place(kind: Any, reason: str) -> None:
    with pytest.raises(DefinitionError, match=f"^State.field: .*{reason}"):
        ValueType(kind, "State.field")
