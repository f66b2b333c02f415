"""A collection of a room's state: a mapping in the order of ids, and what conflicts with what."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from gospa import Items, RoomError, State
from gospa.errors import DefinitionError, Invalid
from gospa.items import AHEAD, LONGEST_ID, after
from gospa.state import values_of
from gospa.store.codec import CodecError, pack, pack_fields, unpack_fields
from gospa.store.content import Content
from gospa.store.draft import Draft, Edits

EPOCH = b"tag-0001"
NOW = 0x019_0000_0000  # milliseconds


class Note(Struct):
    text: Annotated[str, Meta(max_length=10)]


class SheetState(State):
    notes: Items[Note] = Items()
    log: Items[int] = Items(keep=3)


def stored(*notes: str, log: int = 0) -> SheetState:
    """A state that has these notes, each with its id as the text, and lines 1, 2, ... of a log."""
    fields = {f"notes/{id}": {"text": id} for id in notes}
    lines = {f"log/{line(number)}": number for number in range(1, log + 1)}
    epochs = {"notes": EPOCH, "log": EPOCH}
    return SheetState.of(Draft(Content(pack_fields({**fields, **lines}), epochs)))


def line(number: int) -> str:
    """The id of a line."""
    return f"{number:011x}000000"


def edits(state: SheetState) -> Edits:
    """As at the end of an action."""
    values_of(state).finish()
    return values_of(state).draft.edits()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Milliseconds, which a test may set."""
    now = [NOW]
    monkeypatch.setattr(time, "time_ns", lambda: now[0] * 1_000_000)
    return now


# A mapping


def test_items_are_a_mapping_in_the_order_of_ids() -> None:
    notes = stored("b", "10", "9").notes
    assert [*notes] == ["10", "9", "b"]
    assert [*reversed(notes)] == ["b", "9", "10"]
    assert [note.text for note in notes.values()] == ["10", "9", "b"]
    assert dict(notes.items()) == {id: Note(id) for id in notes}
    assert (len(notes), "9" in notes, "x" in notes) == (3, True, False)
    assert 9 not in notes  # type: ignore[comparison-overlap]
    assert (notes["9"], notes.get("x")) == (Note("9"), None)
    assert repr(stored("a").notes) == "Items({'a': Note(text='a')})"
    with pytest.raises(KeyError, match="x"):
        notes["x"]
    with pytest.raises(KeyError, match="x"):
        del notes["x"]


def test_an_item_is_changed_in_place_replaced_or_removed() -> None:
    state = stored("a", "b", "c")
    state.notes["a"].text = "new"
    state.notes["b"] = Note("other")
    del state.notes["c"]
    state.notes.discard("c")
    assert unpack_fields(edits(state).set) == {
        "notes/a": {"text": "new"},
        "notes/b": {"text": "other"},
    }
    assert edits(state).delete == ("notes/c",)
    assert dict(state.notes) == {"a": Note("new"), "b": Note("other")}


def test_all_items_are_replaced_or_removed() -> None:
    state = stored("a", "b")
    state.notes = {"b": Note("new"), "c": Note("c")}
    assert [*state.notes] == ["b", "c"]
    assert edits(state).delete == ("notes/a",)
    state.notes = state.notes
    assert len(state.notes) == 2
    state.notes.clear()
    assert not state.notes
    assert (edits(state).set, sorted(edits(state).delete)) == (
        {},
        ["notes/a", "notes/b", "notes/c"],
    )


ids = st.sampled_from(["a", "b", "b/c", "9", "10", "\U0001f600", "\uffff"])
steps = st.lists(st.tuples(st.sampled_from(["set", "edit", "pop", "discard", "clear"]), ids))


@given(st.sets(ids), steps)
def test_items_behave_as_a_dict_that_is_sorted(
    start: set[str], program: list[tuple[str, str]]
) -> None:
    state = stored(*start)
    notes, model = state.notes, {id: Note(id) for id in start}
    for number, (step, id) in enumerate(program):
        if step == "set":
            notes[id] = Note(str(number))
            model[id] = Note(str(number))
        elif step == "edit" and id in model:
            notes[id].text = model[id].text = str(number)
        elif step == "pop":
            assert notes.pop(id, None) == model.pop(id, None)
        elif step == "discard":
            notes.discard(id)
            model.pop(id, None)
        elif step == "clear":
            notes.clear()
            model.clear()
        assert [*notes.items()] == sorted(model.items(), key=lambda item: item[0])
        assert len(notes) == len(model)
    left = {f"notes/{id}": pack({"text": id}) for id in start} | dict(edits(state).set)
    for key in edits(state).delete:
        left.pop(key, None)
    assert left == {f"notes/{id}": pack({"text": note.text}) for id, note in model.items()}


# What conflicts


@pytest.mark.parametrize(
    ("act", "read", "epoch"),
    [
        (lambda notes: notes["a"], {"a"}, False),
        (lambda notes: "x" in notes, {"x"}, False),
        (lambda notes: notes.get("x"), {"x"}, False),
        (lambda notes: notes.pop("a"), {"a"}, False),
        (len, set(), True),
        (bool, set(), True),
        (list, set(), True),
        (lambda notes: list(notes.values()), {"a", "b"}, True),
        (lambda notes: notes.clear(), set(), True),
        (lambda notes: notes.append(Note("x")), set(), False),
        (lambda notes: notes.update(a=Note("x"), c=Note("x")), set(), False),
        (lambda notes: notes.discard("a"), set(), False),
        (lambda notes: notes.discard("x"), {"x"}, False),
    ],
)
def test_what_was_read_is_expected_and_no_more(
    act: Callable[[Items[Note]], Any], read: set[str], epoch: bool
) -> None:
    state = stored("a", "b")
    act(state.notes)
    assert {key.removeprefix("notes/") for key in edits(state).read} == read
    assert edits(state).epochs == ({"notes": EPOCH} if epoch else {})


def test_reading_writes_nothing() -> None:
    state = stored("a")
    assert [*state.notes.values()] == [Note("a")]
    assert not edits(state)


def test_a_collection_that_would_keep_nothing_is_refused() -> None:
    with pytest.raises(DefinitionError, match="keep=0"):
        Items[Note](keep=0)


# Ids


@pytest.mark.parametrize("id", ["\ud800", 5])
@pytest.mark.parametrize("use", [Items.__getitem__, Items.discard, Items.__delitem__, Items.pop])
def test_an_id_that_no_commit_can_name_is_an_error_of_the_action_that_uses_it(
    use: Callable[..., Any], id: Any
) -> None:
    """Else it would be one of the commit, which others share."""
    state = stored("a")
    with pytest.raises((CodecError, KeyError)):
        use(state.notes, id)
    assert not edits(state).read


@pytest.mark.parametrize("id", ["", "x" * (LONGEST_ID + 1), "\ud800", 5])
def test_an_id_is_text_of_limited_length(id: Any) -> None:
    state = stored()
    with pytest.raises(CodecError, match=r"id|key"):
        state.notes[id] = Note("x")
    assert not edits(state)


@pytest.mark.parametrize("id", ["x" * LONGEST_ID, "a/b", "$a", "%", " ", "__proto__", "\x00"])
def test_any_other_text_is_an_id(id: str) -> None:
    state = stored()
    state.notes[id] = Note("x")
    assert [*state.notes] == [id]
    assert [*edits(state).set] == [f"notes/{id}"]


def test_an_appended_item_comes_after_all_that_are_known(clock: list[int]) -> None:
    """A hybrid logical clock: also after those of a worker whose clock is ahead."""
    notes = stored().notes
    first = notes.append(Note("1"))
    assert first.startswith("01900000000")
    assert len(first) == 17
    clock[0] -= 5000
    made = [first, *(notes.append(Note(str(n))) for n in range(2, 6))]
    assert made == sorted(made) == [*notes]
    clock[0] += 60_000
    assert notes.append(Note("6")).startswith(f"{clock[0]:011x}")


@given(st.integers(0, 2**43), st.integers(0, 2**43))
def test_an_id_is_above_the_last_whatever_the_clock_says(last: int, now: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: now * 1_000_000)
        known = f"{last:011x}ffffff"
        made = after(known)
    assert made > known
    assert len(made) == 17
    assert int(made[:11], 16) == max(now, last + 1)


def test_ids_of_another_form_do_not_disturb_the_clock(clock: list[int]) -> None:
    for last in ("", "zebra", "F" * 17, "f" * 16, "0" * 18):
        assert after(last).startswith(f"{NOW:011x}")


def test_items_appended_at_once_have_different_ids() -> None:
    """Two workers that know the same do not overwrite each other."""
    assert len({after("") for _ in range(100)}) == 100


def test_a_client_may_choose_the_id_so_that_it_can_show_the_item_at_once(clock: list[int]) -> None:
    state = stored()
    id = f"{NOW:011x}abcdef"
    assert state.notes.append(Note("a"), id=id) == id
    assert edits(state).read == {f"notes/{id}": None}
    with pytest.raises(RoomError, match="an item with this id"):
        state.notes.append(Note("b"), id=id)
    assert state.notes[id] == Note("a")


def test_a_client_may_not_push_the_ids_of_all_others_ahead(clock: list[int]) -> None:
    notes = stored().notes
    allowed = f"{NOW + AHEAD:011x}ffffff"
    assert notes.append(Note("a"), id=allowed) == allowed
    for ahead in (NOW + AHEAD + 1, 2**44 - 1):
        with pytest.raises(Invalid, match="ahead of the server's clock"):
            notes.append(Note("a"), id=f"{ahead:011x}000000")
    assert [*notes] == [allowed]


@pytest.mark.parametrize(
    "id", ["", "a", "0" * 16, "0" * 18, "A" * 17, "0" * 16 + "g", "0" * 17 + "\n"]
)
def test_a_client_may_not_choose_ids_of_another_form(id: str) -> None:
    with pytest.raises(Invalid, match=r"use room\.newId"):
        stored().notes.append(Note("a"), id=id)


# keep


def test_of_a_collection_that_keeps_some_the_oldest_go(clock: list[int]) -> None:
    state = stored(log=3)
    state.log.append(4)
    assert [*state.log.values()] == [2, 3, 4]
    assert edits(state).delete == (f"log/{line(1)}",)


def test_an_append_that_keeps_some_reads_nothing(clock: list[int]) -> None:
    state = stored(log=3)
    state.log.append(4)
    state.log.append(5)
    assert (edits(state).read, edits(state).epochs) == ({}, {})
    assert edits(state).delete == (f"log/{line(1)}", f"log/{line(2)}")


def test_what_a_burst_left_too_many_goes_with_the_next_append() -> None:
    state = stored(log=5)
    assert len(state.log) == 5
    state.log.append(6)
    assert [*state.log.values()] == [4, 5, 6]


def test_an_item_that_is_older_than_all_that_are_kept_is_not_kept(clock: list[int]) -> None:
    clock[0] = 9
    state = stored(log=3)
    assert state.log.append(0, id=line(0)) == line(0)
    assert list(state.log) == [line(1), line(2), line(3)]


def test_fewer_than_are_kept_stay() -> None:
    state = stored(log=1)
    state.log.append(2)
    state.log.append(3)
    assert [*state.log.values()] == [1, 2, 3]
    assert edits(state).delete == ()


# Misuse


@pytest.mark.parametrize(
    "use", [len, list, lambda items: items.append(1), lambda items: "a" in items]
)
def test_items_outside_a_state_say_where_they_belong(use: Callable[[Items[int]], Any]) -> None:
    assert repr(Items()) == "Items()"
    with pytest.raises(TypeError, match="belongs in a State"):
        use(Items())


def test_a_value_of_another_type_is_refused() -> None:
    state = stored()
    with pytest.raises(CodecError, match=r"SheetState\.notes cannot hold .*length <= 10"):
        state.notes["a"] = Note("much too long")
    with pytest.raises(CodecError, match=r"SheetState\.log cannot hold"):
        state.log.append("1")  # type: ignore[arg-type]
    with pytest.raises(CodecError, match="cannot hold"):
        state.notes = {"a": 1}  # type: ignore[dict-item]
    assert not edits(state)
