"""Typed values: what state can hold, and what is written of what was read and changed."""

import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from gospa.errors import DefinitionError, StoreCorrupt
from gospa.store.codec import CodecError, encode, pack, unpack
from gospa.store.content import Content
from gospa.store.draft import Draft
from gospa.store.values import MISSING, Values, ValueType


class Color(enum.Enum):
    RED = "red"


class Note(Struct):
    text: Annotated[str, Meta(max_length=5)] = ""
    tags: list[str] = []
    at: datetime | None = None


class Tree(Struct):
    children: list["Tree"] = []


class Chain(Struct, frozen=True):
    next: "Chain | None" = None


class Frozen(Struct, frozen=True):
    inside: Note


class Listed(Struct, array_like=True):
    text: str


NOTE = ValueType(Note, "Sheet.notes")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def values(*, frozen: bool = False, **stored: Any) -> Values:
    return Values(Draft(Content({key: pack(v) for key, v in stored.items()}, {})), frozen=frozen)


def written(values: Values) -> dict[str, Any]:
    values.finish()
    return {key: unpack(raw) for key, raw in values.draft.edits().set.items()}


# Types


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (int, 5, 5),
        (float, 5, 5),
        (str, "é\n", "é\n"),
        (bytes, b"\xff", b"\xff"),
        (datetime, NOW, NOW),
        (date, date(2026, 1, 2), "2026-01-02"),
        (UUID, UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Decimal, Decimal("1.50"), "1.50"),
        (Color, Color.RED, "red"),
        (Literal["a", "b"], "b", "b"),
        (int | None, None, None),
        (list[int], [1, 2], [1, 2]),
        (tuple[int, str], (1, "a"), [1, "a"]),
        (set[int], {1}, [1]),
        (dict[str, Note], {"a": Note("x")}, {"a": {"text": "x", "tags": [], "at": None}}),
        (Note, Note("x", at=NOW), {"text": "x", "tags": [], "at": NOW}),
        (Any, {"a": [1, None]}, {"a": [1, None]}),
        (Tree, Tree([Tree()]), {"children": [{"children": []}]}),
        (Chain, Chain(Chain()), {"next": {"next": None}}),
    ],
)
def test_a_value_is_stored_as_what_browsers_know_and_read_as_its_type(
    kind: Any, value: Any, stored: Any
) -> None:
    type_ = ValueType(kind, "Sheet.x")
    assert unpack(type_.encode(value)) == stored
    assert type_.decode(type_.encode(value), "x") == value


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (dict[int, str], "keys of a dict are text"),
        (list[dict[int, str]], "keys of a dict are text"),
        (timedelta, "use a number of seconds"),
        (Listed, "Listed is array_like"),
        (dict[str, Listed | None], "Listed is array_like"),
        (msgspec.Raw, "not a type of values"),
        (complex, "not a type of values"),
        (Note | Tree, "must be tagged"),
    ],
)
def test_a_type_that_state_cannot_hold_is_a_mistake_of_the_definition(
    kind: Any, reason: str
) -> None:
    with pytest.raises(DefinitionError, match=rf"^Sheet\.x: .*{reason}"):
        ValueType(kind, "Sheet.x")


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (int, "5", "Expected `int`"),
        (int, True, "Expected `int`"),
        (int, 2**64, "out of range"),
        (Annotated[int, Meta(ge=0)], -1, ">= 0"),
        (str, "\ud800", "surrogates"),
        (datetime, datetime(2026, 1, 1), "tzinfo"),  # noqa: DTZ001
        (Note, Note("longer"), r"length <= 5 - at `\$\.text"),
        (Note, {"text": 5}, "Expected `str`"),
        (list[Any], [object()], "object"),
        (Any, {1: "x"}, "keys are text"),
        (Any, {"a": "\ud800"}, "surrogate"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place_and_the_reason(
    kind: Any, value: Any, reason: str
) -> None:
    with pytest.raises(CodecError, match=rf"^Sheet\.x cannot hold .*{reason}"):
        ValueType(kind, "Sheet.x").encode(value)


def test_a_value_that_refers_to_its_own_type_is_nested_no_deeper_than_others() -> None:
    tree = Tree()
    for _ in range(40):
        tree = Tree([tree])
    with pytest.raises(CodecError, match="nested deeper"):
        ValueType(Tree, "Sheet.x").encode(tree)


def test_what_is_stored_and_no_longer_fits_names_the_key_and_the_remedy() -> None:
    with pytest.raises(
        StoreCorrupt, match=r"value of notes/a does not fit Sheet\.notes: .*`migrate`"
    ):
        NOTE.decode(pack({"text": "longer"}), "notes/a")


@pytest.mark.parametrize("kind", [int, str, Color, Chain, int | None, tuple[int, ...], UUID])
def test_values_that_cannot_change_in_place_are_not_compared(kind: Any) -> None:
    assert not ValueType(kind, "Sheet.x").mutable


@pytest.mark.parametrize("kind", [list[int], Note, Tree, Frozen, tuple[Note, ...], Any, set[int]])
def test_values_that_can_change_in_place_are(kind: Any) -> None:
    assert ValueType(kind, "Sheet.x").mutable


# Values


def test_a_value_is_decoded_once_and_left_alone() -> None:
    state = values(a={"text": "x"})
    note = state.read("a", NOTE)
    assert note == Note("x")
    assert state.read("a", NOTE) is note
    assert written(state) == {}
    assert state.draft.edits().read == {"a": pack({"text": "x"})}


def test_a_default_is_read_as_absent_and_not_stored() -> None:
    """So that releases with other defaults conflict rightly, and reading never writes."""
    state = values()
    assert state.read("a", NOTE, pack({"text": "new"})) == Note("new")
    assert state.read("b", NOTE) is MISSING
    assert written(state) == {}
    assert state.draft.edits().read == {"a": None, "b": None}


def test_a_default_that_was_changed_in_place_is_stored() -> None:
    kind, default = ValueType(list[int], "Sheet.x"), pack([])
    state, other = values(), values()
    state.read("a", kind, default).append(1)
    assert written(state) == {"a": [1]}
    assert other.read("a", kind, default) == []


def test_a_change_in_place_is_noticed_wherever_it_is() -> None:
    state = values(a={"text": "x", "tags": ["b"]})
    note = state.read("a", NOTE)
    note.tags.append("c")
    assert written(state) == {"a": {"text": "x", "tags": ["b", "c"], "at": None}}
    assert state.draft.edits().read == {"a": pack({"text": "x", "tags": ["b"]})}


def test_a_change_in_place_of_what_was_just_set_is_noticed() -> None:
    state, note = values(), Note("x")
    state.write("a", NOTE, note)
    note.text = "y"
    assert written(state) == {"a": {"text": "y", "tags": [], "at": None}}
    assert state.draft.edits().read == {}


def test_a_struct_that_has_got_a_field_since_is_not_written_because_it_was_read() -> None:
    state = values(a={"text": "x"}, b={"text": "x", "gone": 1})
    assert state.read("a", NOTE).tags == state.read("b", NOTE).tags == []
    assert written(state) == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda note: setattr(note, "text", "longer"), "length <= 5"),
        (lambda note: setattr(note, "text", 5), "Expected `str`"),
        (lambda note: setattr(note, "text", object()), "object"),
        (lambda note: setattr(note, "text", "\ud800"), "surrogates"),
        (lambda note: setattr(note, "at", datetime(2026, 1, 1)), "tzinfo"),  # noqa: DTZ001
        (lambda note: note.tags.append(2**70), "out of range|too large|Expected `str`"),
    ],
)
def test_a_change_in_place_is_checked_before_it_is_stored(
    change: Callable[[Note], object], reason: str
) -> None:
    state = values(a={"text": "x"})
    change(state.read("a", NOTE))
    with pytest.raises(CodecError, match=rf"^Sheet\.notes cannot hold .*({reason})"):
        state.finish()
    assert state.draft.edits().set == {}


def test_a_value_that_was_removed_is_not_brought_back_by_a_change_in_place() -> None:
    state = values(a={"text": "x"})
    note = state.read("a", NOTE)
    state.remove("a")
    note.text = "y"
    assert written(state) == {}
    assert state.read("a", NOTE) is MISSING
    assert state.draft.edits().delete == ("a",)


def test_values_that_were_only_read_cannot_be_set_or_removed() -> None:
    state = values(frozen=True, a={"text": "x"})
    with pytest.raises(TypeError, match="call an action"):
        state.write("a", NOTE, Note())
    with pytest.raises(TypeError, match="call an action"):
        state.remove("a")
    state.read("a", NOTE).text = "y"
    with pytest.raises(TypeError, match="call an action"):
        state.finish()


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=3)
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(plain)
def test_any_plain_value_is_stored_as_the_codec_stores_it(value: Any) -> None:
    """Expectations compare bytes, whichever of the two encoded them."""
    raw = ValueType(Any, "Sheet.x").encode(value)
    assert raw == encode(value)
    state = values()
    state.write("a", ValueType(Any, "Sheet.x"), value)
    assert written(state) == {"a": value}
