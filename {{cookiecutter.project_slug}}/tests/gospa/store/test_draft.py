from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gospa.store.codec import CodecError, pack, pack_fields, unpack_fields
from gospa.store.draft import NO_EDITS, Draft, Edits


def draft(**values: Any) -> Draft:
    return Draft(pack_fields(values))


def test_a_new_draft_has_no_edits() -> None:
    assert draft(a=1).edits() == NO_EDITS
    assert not NO_EDITS


def test_a_key_assigned_without_being_read_is_a_blind_write() -> None:
    state = draft(a=1)
    state["a"] = 2
    edits = state.edits()
    assert edits.set == pack_fields({"a": 2})
    assert edits.read == {}
    assert not edits.all_keys


def test_a_key_read_is_expected_as_it_was() -> None:
    state = draft(a=1)
    state["a"] += 1
    state.get("missing")
    edits = state.edits()
    assert edits.set == pack_fields({"a": 2})
    assert edits.read == {"a": pack(1), "missing": None}


def test_a_change_inside_a_value_is_noticed() -> None:
    state = draft(note={"text": "a", "tags": []})
    state["note"]["tags"].append("new")
    assert unpack_fields(state.edits().set) == {"note": {"text": "a", "tags": ["new"]}}


@pytest.mark.parametrize("value", [0, 1, 3, 4])
def test_a_change_to_any_other_value_is_noticed(value: int) -> None:
    state = draft(a=[2])
    state["a"][0] = value
    assert state.edits().set == pack_fields({"a": [value]})


def test_setting_alone_and_deleting_alone_are_edits() -> None:
    setting, deleting = draft(), draft(a=1)
    setting["a"] = 1
    del deleting["a"]
    assert setting.edits()
    assert deleting.edits()


def test_a_value_read_and_left_alone_is_not_written() -> None:
    state = draft(a=[1, 2])
    assert state["a"] == [1, 2]
    assert not state.edits()


def test_deleting_reads_and_deletes() -> None:
    state = draft(a=1, b=2)
    del state["a"]
    edits = state.edits()
    assert edits.delete == ("a",)
    assert edits.read == {"a": pack(1)}
    assert "a" not in state
    with pytest.raises(KeyError):
        del state["a"]


def test_a_key_set_and_deleted_again_is_deleted_also_where_another_writer_set_it() -> None:
    state = draft()
    state["a"] = 1
    del state["a"]
    assert state.edits() == Edits(read={}, all_keys=False, set={}, delete=("a",))


def test_a_draft_is_cleared_of_what_is_stored() -> None:
    state = Draft(pack_fields({"a": 1, "b": 2}), pack_fields({"b": 0, "c": 0}))
    state["d"] = 4
    state.clear()
    assert dict(state) == {"b": 0, "c": 0}
    assert set(state.edits().delete) == {"a", "b", "d"}
    assert not state.edits().set


def test_a_key_deleted_and_set_again_is_set() -> None:
    state = draft(a=1)
    del state["a"]
    state["a"] = 3
    edits = state.edits()
    assert edits.set == pack_fields({"a": 3})
    assert edits.delete == ()


def test_looking_at_the_keys_is_recorded() -> None:
    state = draft(a=1)
    assert list(state) == ["a"]
    assert state.edits().all_keys


@pytest.mark.parametrize(("key", "value"), [("a", {1}), ("a", object()), (1, 1), ("\ud800", 1)])
def test_what_state_cannot_hold_is_a_codec_error(key: Any, value: Any) -> None:
    state = draft()

    def assign() -> None:
        state[key] = value
        state.edits()

    with pytest.raises(CodecError):
        assign()


keys = st.sampled_from("abcd")
steps = st.lists(
    st.tuples(st.just("set"), keys, st.integers(0, 3))
    | st.tuples(st.just("delete"), keys, st.none())
    | st.tuples(st.just("read"), keys, st.none())
    | st.tuples(st.just("list"), keys, st.none())
)


@given(st.dictionaries(keys, st.integers(0, 3)), steps)
def test_a_draft_behaves_as_a_dict_and_its_edits_lead_there(
    start: dict[str, int], program: list[tuple[str, str, Any]]
) -> None:
    state, model = Draft(pack_fields(start)), dict(start)
    for step, key, value in program:
        if step == "set":
            state[key] = model[key] = value
        elif step == "delete":
            assert state.pop(key, None) == model.pop(key, None)
        elif step == "read":
            assert state.get(key) == model.get(key)
        else:
            assert set(state) == set(model)
            assert len(state) == len(model)
    edits = state.edits()
    result = {**start, **unpack_fields(edits.set)}
    for key in edits.delete:
        result.pop(key, None)
    assert result == model


def follow(fields: Mapping[str, bytes], program: list[tuple[str, str, Any]]) -> Edits:
    """The edits of a draft that does what the program says."""
    state = Draft(fields)
    for step, key, value in program:
        if step == "set":
            state[key] = value
        elif step == "delete":
            state.pop(key, None)
        elif step == "read":
            state.get(key)
        else:
            len(state)
    return state.edits()


states = st.dictionaries(keys, st.integers(0, 1))


@given(states, states, steps)
def test_edits_of_an_old_state_do_on_the_newest_what_the_program_does(
    old: dict[str, int], newest: dict[str, int], program: list[tuple[str, str, Any]]
) -> None:
    fields = pack_fields(newest)
    edits = follow(pack_fields(old), program)
    if not edits.all_keys and edits.read == {key: fields.get(key) for key in edits.read}:
        assert edits.applied(fields) == follow(fields, program).applied(fields)


@given(st.dictionaries(keys, st.integers(0, 3)), steps, steps)
def test_edits_after_edits_are_edits_that_lead_to_the_same(
    start: dict[str, int],
    program: list[tuple[str, str, Any]],
    next_program: list[tuple[str, str, Any]],
) -> None:
    fields = pack_fields(start)
    first = follow(fields, program)
    between = first.applied(fields)
    second = follow(between, next_program)
    both = first.then(second)
    assert both.applied(fields) == second.applied(between)
    assert both.read == {key: fields.get(key) for key in both.read}
    assert second.read.keys() - first.set.keys() - set(first.delete) <= both.read.keys()
    assert both.all_keys is (first.all_keys or second.all_keys)
    assert not set(both.set) & set(both.delete)
