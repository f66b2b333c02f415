"""What an action read and changed of a room, and several actions in one commit."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gospa.store.codec import pack, pack_fields
from gospa.store.content import NO_EPOCH, Content
from gospa.store.draft import Draft, Edits, StateTooLarge, run_all

NO_EDITS = Edits(read={}, epochs={}, whole=False, set={}, delete=())

EPOCH = b"tag-0001"


def content(fields: Mapping[str, Any]) -> Content:
    """What is stored; the collections `notes` and `log` have the epoch EPOCH."""
    return Content(pack_fields(fields), {"notes": EPOCH, "log": EPOCH})


def draft(fields: Mapping[str, Any] | None = None, /, **more: Any) -> Draft:
    return Draft(content({**(fields or {}), **more}))


def edits(**options: Any) -> Edits:
    nothing = {"read": {}, "epochs": {}, "whole": False, "set": {}, "delete": ()}
    return Edits(**{**nothing, **options})


# One draft


def test_a_new_draft_has_no_edits() -> None:
    assert draft(a=1).edits() == NO_EDITS
    assert not NO_EDITS


def test_a_key_set_without_being_read_is_a_blind_write() -> None:
    state = draft(a=1)
    state.set("a", pack(2))
    assert state.edits() == edits(set=pack_fields({"a": 2}))
    assert state.edits()
    assert state.get("a") == pack(2)
    assert state.edits().read == {}, "what it reads is its own"


def test_a_key_read_is_expected_as_it_was() -> None:
    state = draft(a=1)
    assert state.get("a") == pack(1)
    assert state.get("missing") is None
    state.set("a", pack(2))
    read: dict[str, bytes | None] = {"a": pack(1), "missing": None}
    assert state.edits() == edits(read=read, set=pack_fields({"a": 2}))


def test_a_known_key_is_deleted_without_being_read() -> None:
    state = draft(a=1)
    state.delete("a")
    assert state.get("a") is None
    assert state.edits() == edits(delete=("a",))
    assert state.edits()


def test_a_key_that_is_not_known_here_is_expected_to_be_absent_if_it_is_deleted() -> None:
    """Else one that another writer adds meanwhile would survive unseen."""
    state = draft()
    state.delete("a")
    assert state.edits() == edits(read={"a": None})
    assert not state.edits()


def test_a_key_is_discarded_blindly_whether_it_is_known_or_not() -> None:
    state = draft(a=1)
    state.discard("a")
    state.discard("b")
    assert state.edits() == edits(delete=("a", "b"))


def test_a_key_set_and_deleted_again_is_deleted_also_where_another_writer_set_it() -> None:
    state = draft()
    state.set("a", pack(1))
    state.delete("a")
    assert state.edits() == edits(delete=("a",))


def test_a_key_read_as_absent_set_and_deleted_again_is_left_alone() -> None:
    state = draft()
    state.get("a")
    state.set("a", pack(1))
    state.delete("a")
    assert state.edits() == edits(read={"a": None})


def test_a_key_deleted_and_set_again_is_set() -> None:
    state = draft(a=1)
    state.delete("a")
    state.set("a", pack(3))
    assert state.edits() == edits(set=pack_fields({"a": 3}))


# Collections


@pytest.mark.parametrize("look", [lambda d: d.ids("notes"), lambda d: d.count("notes")])
def test_the_epoch_of_a_collection_whose_ids_were_read_is_expected(
    look: Callable[[Draft], Any],
) -> None:
    state = draft({"notes/a": 1})
    look(state)
    assert state.edits() == edits(epochs={"notes": EPOCH})


def test_an_item_that_is_read_is_expected_and_not_its_collection() -> None:
    state = draft({"notes/a": 1})
    state.get("notes/a")
    state.get("notes/b")
    assert state.edits() == edits(read={"notes/a": pack(1), "notes/b": None})


def test_ids_and_their_count_are_those_after_the_drafts_own_changes() -> None:
    state = draft({"notes/b": 1, "notes/c": 1, "log/a": 1})
    state.set("notes/a", pack(1))
    state.delete("notes/c")
    assert state.ids("notes") == ["a", "b"]
    assert state.count("notes") == state.known("notes") == 2
    assert state.edits().epochs == {"notes": EPOCH}


def test_what_is_asked_as_far_as_known_is_not_expected() -> None:
    state = draft({"notes/a": 1, "notes/b": 1, "notes/c": 1})
    assert state.last("notes") == "c"
    assert state.known("notes") == 3
    assert state.oldest("notes", 1) == ["a", "b"]
    assert state.oldest("notes", 3) == state.oldest("notes", 4) == []
    assert state.edits() == NO_EDITS


def test_reads_are_edits_that_change_nothing() -> None:
    state = draft(a=1)
    state.get("a")
    state.count("notes")
    state.set("b", pack(1))
    read: dict[str, bytes | None] = {"a": pack(1)}
    assert state.reads() == edits(read=read, epochs={"notes": EPOCH})
    assert state.reads(whole=True).whole


# Any program

KEYS = st.sampled_from(["a", "b", "notes/a", "notes/b", "notes/c"])
Step = tuple[str, str, int]
OPERATIONS = ["get", "set", "delete", "discard", "count", "ids"]
steps = st.lists(st.tuples(st.sampled_from(OPERATIONS), KEYS, st.integers(0, 2)), max_size=8)
states = st.dictionaries(KEYS, st.integers(0, 2))


def follow(state: Draft, program: list[Step]) -> list[Any]:
    """Do what the program says; returns what it saw."""
    seen: list[Any] = []
    for step, key, value in program:
        match step:
            case "get":
                seen.append(state.get(key))
            case "set":
                state.set(key, pack(value))
            case "delete":
                state.delete(key)
            case "discard":
                state.discard(key)
            case "count":
                seen.append(state.count("notes"))
            case "ids":
                seen.append(state.ids("notes"))
    return seen


def applied(fields: Mapping[str, bytes], edits: Edits) -> dict[str, bytes]:
    return {k: raw for k, raw in {**fields, **edits.set}.items() if k not in edits.delete}


def in_plain(
    fields: Mapping[str, bytes], program: list[Step]
) -> tuple[dict[str, bytes], list[Any]]:
    """The same on a plain dict: the fields after it, and what it saw."""
    model, seen = dict(fields), list[Any]()
    for step, key, value in program:
        ids = sorted(each.removeprefix("notes/") for each in model if "/" in each)
        if step == "set":
            model[key] = pack(value)
        elif step in ("delete", "discard"):
            model.pop(key, None)
        else:
            seen.append({"get": model.get(key), "count": len(ids), "ids": ids}[step])
    return model, seen


@given(states, steps)
def test_a_draft_behaves_as_a_dict_and_its_edits_lead_there(
    start: dict[str, int], program: list[Step]
) -> None:
    fields = pack_fields(start)
    state = draft(start)
    seen = follow(state, program)
    assert (applied(fields, state.edits()), seen) == in_plain(fields, program)
    assert state.size == content({}).size + sum(
        len(k) + len(raw) + 64 for k, raw in applied(fields, state.edits()).items()
    )
    assert not set(state.edits().set) & set(state.edits().delete)


@given(states, states, steps)
def test_edits_of_an_old_state_do_on_the_newest_what_the_program_does(
    old: dict[str, int], newest: dict[str, int], program: list[Step]
) -> None:
    """If what was read holds: the keys, and the ids where these were read."""
    fields = pack_fields(newest)
    state = draft(old)
    seen = follow(state, program)
    made = state.edits()
    same_ids = {k for k in old if "/" in k} == {k for k in newest if "/" in k}
    same_values = made.read == {key: fields.get(key) for key in made.read}
    if same_values and (same_ids or not made.epochs):
        assert (applied(fields, made), seen) == in_plain(fields, program)


# Several drafts in one commit


@given(states, st.lists(steps, max_size=4))
def test_programs_in_one_commit_do_what_they_do_one_after_another(
    start: dict[str, int], programs: list[list[Step]]
) -> None:
    fields = pack_fields(start)
    runs = [partial(follow, program=program) for program in programs]
    together, results, error = run_all(runs, content(start), 1e9)
    assert error is None
    model, read, written, counted = fields, set[str](), set[str](), False
    for program, result in zip(programs, results, strict=True):
        alone = Draft(Content(model, {"notes": EPOCH}))
        follow(alone, program)
        model, seen = in_plain(model, program)
        assert result == seen
        own = alone.edits()
        read |= own.read.keys() - written
        written |= {*own.set, *own.delete}
        counted = counted or bool(own.epochs)
    assert applied(fields, together) == model
    assert together.read == {key: fields.get(key) for key in read}
    assert together.epochs == ({"notes": EPOCH} if counted else {})
    assert not set(together.set) & set(together.delete)


def test_an_earlier_addition_does_not_hide_that_a_later_one_counted() -> None:
    """What was counted includes what others have there, so the base's epoch is expected."""

    def add(state: Draft) -> None:
        state.set("notes/b", pack(1))

    def count(state: Draft) -> int:
        return state.count("notes")

    both, results, error = run_all([add, count], content({"notes/a": 1}), 1e9)
    assert (results, error) == ([None, 2], None)
    assert both == edits(epochs={"notes": EPOCH}, set=pack_fields({"notes/b": 1}))


def test_what_an_earlier_one_set_is_not_expected_of_the_store() -> None:
    def add(state: Draft) -> None:
        state.set("a", pack(2))

    def read(state: Draft) -> bytes | None:
        return state.get("a")

    both, results, _ = run_all([add, read], content({"a": 1}), 1e9)
    assert results[1] == pack(2)
    assert both == edits(set=pack_fields({"a": 2}))


def fail(state: Draft) -> None:
    state.get("a")
    state.set("b", pack(1))
    raise ZeroDivisionError


def test_those_before_one_that_fails_are_kept_and_what_it_did_is_not() -> None:
    made, results, error = run_all([lambda d: d.set("a", pack(2)), fail], content({}), 1e9)
    assert made == edits(set=pack_fields({"a": 2}))
    assert results == [None]
    assert isinstance(error, ZeroDivisionError)


def test_of_one_that_fails_first_is_kept_what_it_had_read() -> None:
    """So that the store says whether the failure is true of the newest state."""
    made, results, error = run_all([fail, fail], content({"a": 1}), 1e9)
    assert made == edits(read=pack_fields({"a": 1}))
    assert results == []
    assert isinstance(error, ZeroDivisionError)


def test_a_room_may_not_become_larger_than_its_limit_but_smaller_if_it_is() -> None:
    def write(state: Draft) -> None:
        state.set("b", pack("x" * 100))

    def shrink(state: Draft) -> None:
        state.set("a", pack("x" * 190))

    large = content({"a": "x" * 200})
    made, _, error = run_all([write], large, 250)
    assert isinstance(error, StateTooLarge)
    assert made == edits(whole=True)
    made, _, error = run_all([shrink], large, 100)
    assert error is None
    assert made
    _, results, error = run_all([write, write, shrink], large, 1000)
    assert (len(results), error) == (3, None)


def test_an_attempt_that_fails_leaves_what_it_read_and_nothing_that_it_changed() -> None:
    draft = Draft(Content({"a": b"1", "b": b"2"}, {}))
    draft.set("own", b"0")

    def fails(inner: Draft) -> None:
        inner.get("a")
        inner.get("own")
        inner.count("notes")
        inner.set("b", b"9")
        inner.set("notes/1", b"9")
        raise ZeroDivisionError

    def works(inner: Draft) -> int:
        inner.get("b")
        inner.discard("b")
        inner.set("notes/2", b"3")
        return 7

    with pytest.raises(ZeroDivisionError):
        draft.attempt(fails)
    assert draft.attempt(works) == 7
    edits = draft.edits()
    assert edits.read == {"a": b"1", "b": b"2"}
    assert edits.epochs == {"notes": NO_EPOCH}
    assert edits.set == {"own": b"0", "notes/2": b"3"}
    assert edits.delete == ("b",)
