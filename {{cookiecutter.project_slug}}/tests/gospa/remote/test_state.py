"""A client's copy of a state: what is shown, in which order, and that it stays as it was shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gospa.remote.state import ClientState

KEYS = st.builds(
    "{}{}".format,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["", "/1", "/2", "/é", "/\U00010000"]),
)
COMMITS = st.tuples(st.dictionaries(KEYS, st.integers()), st.sets(KEYS))


@pytest.fixture
def state() -> ClientState:
    state = ClientState()
    state.replace({"count": 1, "notes/b": {"text": "bread"}, "notes/a": {"text": "ale"}})
    state.describe({"count": 0, "title": ""}, ["notes", "log"])
    return state


def test_fields_are_over_their_defaults_and_items_in_collections(state: ClientState) -> None:
    assert state.shown == {
        "count": 1,
        "title": "",
        "notes": {"a": {"text": "ale"}, "b": {"text": "bread"}},
        "log": {},
    }


def test_a_collection_that_nobody_named_shows_while_it_has_items(state: ClientState) -> None:
    state.apply({"other/1": True}, [])
    assert state.shown["other"] == {"1": True}
    state.apply({}, ["other/1", "unknown/1"])
    assert set(state.shown) == {"count", "title", "notes", "log"}


def test_the_first_slash_ends_the_name_of_a_collection(state: ClientState) -> None:
    state.apply({"notes/x/y": 1}, [])
    assert state.shown["notes"]["x/y"] == 1


def test_keys_of_the_engine_are_not_shown(state: ClientState) -> None:
    before = dict(state.shown)
    state.apply({"$schema": 2, "$visits/ann": {}}, [])
    state.apply({}, ["$schema", "$visits/ann"])
    assert state.shown == before


def test_items_are_in_the_order_of_code_points(state: ClientState) -> None:
    for id_ in ("\uffff", "c", "\U00010000", "0"):
        state.apply({f"notes/{id_}": id_}, [])
    assert list(state.shown["notes"]) == ["0", "a", "b", "c", "\uffff", "\U00010000"]
    state.apply({"notes/b": "again"}, ["notes/c"])
    assert list(state.shown["notes"]) == ["0", "a", "b", "\uffff", "\U00010000"]


def test_what_is_shown_cannot_be_changed(state: ClientState) -> None:
    shown: Any = state.shown
    for part in (shown, shown["notes"], shown["log"]):
        with pytest.raises(TypeError):
            part["a"] = 1


def test_a_commit_leaves_what_was_shown_and_shares_the_rest(state: ClientState) -> None:
    before = state.shown
    state.apply({"notes/c": {"text": "cake"}}, ["notes/a"])
    assert list(before["notes"]) == ["a", "b"]
    assert list(state.shown["notes"]) == ["b", "c"]
    assert state.shown["notes"]["b"] is before["notes"]["b"]
    now = state.shown
    state.apply({"count": 2}, [])
    assert state.shown["notes"] is now["notes"]


def test_another_state_replaces_all(state: ClientState) -> None:
    state.replace({"title": "new"})
    assert state.shown == {"count": 0, "title": "new", "notes": {}, "log": {}}


def test_the_same_description_changes_nothing(state: ClientState) -> None:
    before = state.shown
    state.describe({"count": 0, "title": ""}, ["notes", "log"])
    assert state.shown is before
    state.describe({"count": 0}, ["notes"])
    assert set(state.shown) == {"count", "notes"}


@given(st.lists(COMMITS), st.data())
def test_it_shows_what_the_commits_make(
    commits: list[tuple[dict[str, int], set[str]]], data: st.DataObject
) -> None:
    state, flat = ClientState(), dict[str, int]()
    kept: list[tuple[Any, Any]] = []
    for changed, deleted in commits:
        state.apply(changed, deleted - set(changed))
        flat = {
            key: value
            for key, value in {**flat, **changed}.items()
            if key not in deleted - set(changed)
        }
        if data.draw(st.booleans()):
            shown = state.shown
            kept.append((shown, plain(shown)))
    expected: dict[str, Any] = {key: value for key, value in flat.items() if "/" not in key}
    for key in sorted(flat):
        name, slash, id_ = key.partition("/")
        if slash:
            if not isinstance(expected.get(name), dict):
                expected[name] = {}
            expected[name][id_] = flat[key]
    assert plain(state.shown) == plain(expected)
    for shown, copy in kept:
        assert plain(shown) == copy


def plain(shown: Any) -> Any:
    """Lists of pairs, which are equal only in the same order."""
    return {
        key: list(value.items()) if hasattr(value, "items") else value
        for key, value in shown.items()
    }
