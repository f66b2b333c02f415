"""The typed state of a room: what is read, what is written of it, and what a class may say."""

import types
from typing import Annotated, Any, ClassVar

import pytest
from msgspec import Meta, Struct

from gospa import Items, State, Writable
from gospa.errors import DefinitionError
from gospa.state import values_of
from gospa.store.codec import CodecError, pack, pack_fields, unpack_fields
from gospa.store.content import Content
from gospa.store.draft import Draft, Edits

Title = Annotated[str, Meta(max_length=10)]


class Note(Struct):
    text: Title
    color: int = 0


class SheetState(State):
    KINDS: ClassVar[int] = 3
    _kinds: ClassVar = 4
    count: int = 0
    title: Writable[Title] = "Sheet"
    tags: list[str] = []
    best: Note | None = None
    notes: Items[Note] = Items()
    log: Items[str] = Items(keep=2)


class LaterState(SheetState):
    """A subclass, with a default of its own."""

    count = 7
    color: Writable[int] = 1


def stored(kind: type[SheetState] = SheetState, /, **fields: Any) -> SheetState:
    return kind.of(Draft(Content(pack_fields(fields), {})))


def edits(state: State) -> Edits:
    """As at the end of an action."""
    values_of(state).finish()
    return values_of(state).draft.edits()


def written(state: State) -> dict[str, Any]:
    return unpack_fields(edits(state).set)


# Fields


def test_a_field_is_read_as_its_type_and_expected_as_it_was() -> None:
    state = stored(count=2, best={"text": "a"})
    assert (state.count, state.best) == (2, Note("a"))
    assert edits(state).read == pack_fields({"count": 2, "best": {"text": "a"}})


def test_a_field_that_nobody_has_set_has_its_default_which_is_not_stored() -> None:
    state = stored()
    assert (state.count, state.title, state.tags, state.best) == (0, "Sheet", [], None)
    assert not edits(state)
    assert edits(state).read == dict.fromkeys(["count", "title", "tags", "best"])


def test_a_field_that_is_set_without_being_read_is_a_blind_write() -> None:
    state = stored(count=2)
    state.count = 5
    assert state.count == 5
    assert (written(state), edits(state).read) == ({"count": 5}, {})


def test_a_field_that_is_deleted_has_its_default_again() -> None:
    state = stored(count=2)
    del state.count
    assert state.count == 0
    assert edits(state).delete == ("count",)


def test_a_struct_that_has_got_a_field_since_is_not_written_because_it_was_read() -> None:
    state = stored(**{"best": {"text": "a"}, "notes/a": {"text": "a", "removed": 1}})
    assert (state.best, state.notes["a"].color) == (Note("a", 0), 0)
    assert not edits(state)


def test_a_default_is_not_shared() -> None:
    one, other = stored(), stored()
    one.tags.append("new")
    assert written(one) == {"tags": ["new"]}
    assert (other.tags, SheetState().tags) == ([], [])


def test_a_value_changed_in_place_is_noticed_and_checked() -> None:
    state = stored(best={"text": "a"})
    assert state.best
    state.best.text = "b"
    assert written(state) == {"best": {"text": "b", "color": 0}}
    state.best.text = "much too long"
    with pytest.raises(CodecError, match=r"SheetState\.best cannot hold .*length <= 10"):
        edits(state)


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", "5"), ("title", "much too long"), ("best", {"text": 1}), ("tags", "x")],
)
def test_a_value_of_another_type_is_refused_where_it_is_set(name: str, value: object) -> None:
    state = stored()
    with pytest.raises(CodecError, match=rf"SheetState\.{name} cannot hold"):
        setattr(state, name, value)
    assert not edits(state)


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    for name, hint in (("cuont", "did you mean count?"), ("note", "did you mean notes?")):
        with pytest.raises(AttributeError, match=f"SheetState has no field {name}.*{hint}"):
            setattr(stored(), name, 1)
    with pytest.raises(AttributeError, match=r"has no field xyz$"):
        SheetState(xyz=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        _ = stored().cuont  # type: ignore[attr-defined]


def test_a_state_made_by_hand_has_what_was_given() -> None:
    state = SheetState(count=1, notes={"a": Note("a")}, log={"1": "x", "2": "y"})
    assert (state.count, state.title, dict(state.notes)) == (1, "Sheet", {"a": Note("a")})
    assert written(state) == {
        "count": 1,
        "notes/a": {"text": "a", "color": 0},
        "log/1": "x",
        "log/2": "y",
    }
    assert not written(SheetState())
    assert repr(state) == (
        "SheetState(count=1, title='Sheet', tags=[], best=None, "
        "notes=Items({'a': Note(text='a', color=0)}), log=Items({'1': 'x', '2': 'y'}))"
    )


def test_a_state_that_was_only_read_cannot_be_changed() -> None:
    state = SheetState.of(
        Draft(Content(pack_fields({"count": 1, "notes/a": {"text": "a"}}), {})), frozen=True
    )
    for change in (
        lambda: setattr(state, "count", 2),
        lambda: delattr(state, "count"),
        lambda: state.notes.append(Note("b")),
        lambda: state.notes.discard("a"),
        state.notes.clear,
    ):
        with pytest.raises(TypeError, match="call an action"):
            change()
    assert (state.count, len(state.notes)) == (1, 1)


# Its definition


def test_a_schema_has_fields_with_their_defaults_and_collections() -> None:
    schema = SheetState.schema()
    assert unpack_fields(schema.defaults) == {
        "count": 0,
        "title": "Sheet",
        "tags": [],
        "best": None,
    }
    assert [*schema.collections] == ["notes", "log"]
    assert [name for name, each in schema.fields.items() if each.writable] == ["title"]
    assert SheetState.schema() is schema


def test_a_subclass_has_what_is_above_it_and_its_own() -> None:
    assert LaterState().count == 7
    assert SheetState().count == 0
    schema = LaterState.schema()
    assert [name for name, each in schema.fields.items() if each.writable] == ["title", "color"]
    state = stored(LaterState, title="x")
    state.notes["a"] = Note("a")
    assert (state.title, len(state.notes), written(state)["notes/a"]["text"]) == ("x", 1, "a")


def define(name: str, hint: Any, *default: Any) -> type[State]:
    """`class Wrong(State)` with one attribute, its schema read."""
    body: dict[str, Any] = {"__module__": __name__}
    if hint is not None:
        body["__annotations__"] = {name: hint}
    if default:
        body[name] = default[0]
    kind: type[State] = types.new_class(
        "Wrong", (State,), {}, lambda namespace: namespace.update(body)
    )
    kind.schema()
    return kind


@pytest.mark.parametrize(
    ("name", "hint", "default", "reason"),
    [
        ("count", int, (), r"Wrong\.count needs a default"),
        ("count", int, ("0",), r"the default of Wrong\.count: .*Expected `int`"),
        ("title", Title, ("much too long",), "length <= 10"),
        ("notes", Items[Note], (), r"needs a default: `= Items\(\)`"),
        ("notes", Items[Note], ({},), r"needs a default: `= Items\(\)`"),
        ("notes", None, (Items(),), r"notes needs a type: `notes: Items\[...\]`"),
        ("notes", Items[dict[int, str]], (Items(),), "keys of a dict are text"),
        ("table", dict[int, str], ({},), "keys of a dict are text"),
        ("count", "Unknown", (0,), "'Unknown' is not defined.*at module level"),
        ("_count", int, (0,), r"Wrong\._count: a field's name begins with a letter"),
        ("_notes", Items[Note], (Items(),), "annotate other attributes as ClassVar"),
        ("schema", int, (0,), "the name is not free"),
        ("of", int, (0,), "the name is not free"),
    ],
)
def test_a_class_that_cannot_work_is_refused(
    name: str, hint: Any, default: tuple[Any, ...], reason: str
) -> None:
    with pytest.raises(DefinitionError, match=reason):
        define(name, hint, *default)


def test_collections_have_an_items_of_their_own() -> None:
    shared: Items[Note] = Items()
    define("notes", Items[Note], shared)
    with pytest.raises(DefinitionError, match=r"others needs Items\(\) of its own"):
        define("others", Items[Note], shared)
    with pytest.raises(DefinitionError, match=r"notes needs Items\(\) of its own"):
        define("notes", Items[str], shared)


def test_a_constant_of_the_class_is_no_field() -> None:
    assert (stored().KINDS, SheetState.KINDS) == (3, 3)
    with pytest.raises(AttributeError, match="no field KINDS"):
        stored().KINDS = 4  # type: ignore[misc]


def test_what_is_stored_and_unknown_to_the_class_is_left_alone() -> None:
    """A field that was removed from the class stays until a migration."""
    state = SheetState.of(Draft(Content({"old": pack(1), "gone/a": pack(1)}, {})))
    state.count += 1
    assert written(state) == {"count": 1}
    assert edits(state).delete == ()
