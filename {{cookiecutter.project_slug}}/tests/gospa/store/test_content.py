"""A room's values in memory, and changes laid over them, are what plain dicts would be."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gospa.store.codec import pack_fields
from gospa.store.content import (
    NO_EPOCH,
    UNKNOWN_EPOCH,
    Content,
    MovingOverlay,
    Overlay,
    View,
    collection_of,
    growth,
    published,
    value_size,
)

COLLECTIONS = ("notes", "log")
KEYS = ("count", "title", "notes/a", "notes/b", "notes/b/c", "notes/\U0001f600", "log/a", "log/é")

Change = dict[str, bytes | None]
fields = st.dictionaries(st.sampled_from(KEYS), st.binary(max_size=3))
changes = st.dictionaries(st.sampled_from(KEYS), st.none() | st.binary(max_size=3), max_size=4)


def content(**values: Any) -> Content:
    """What is stored, with `__` for the slash."""
    return Content(pack_fields({key.replace("__", "/"): v for key, v in values.items()}), {})


def split(change: Change) -> tuple[dict[str, bytes], list[str]]:
    """What a change sets, and what it deletes."""
    changed = {key: raw for key, raw in change.items() if raw is not None}
    return changed, [key for key, raw in change.items() if raw is None]


def changed(fields: Mapping[str, bytes], change: Change) -> dict[str, bytes]:
    """Fields with a change."""
    return {k: raw for k, raw in {**fields, **change}.items() if raw is not None}


def seen(view: View) -> dict[str, Any]:
    """All that a view tells, except epochs."""
    per_collection = {c: (list(view.ids(c)), view.count(c), view.last(c)) for c in COLLECTIONS}
    return {"size": view.size, **per_collection, **{key: view.get(key) for key in KEYS}}


def expected(fields: Mapping[str, bytes]) -> dict[str, Any]:
    """The same of a plain dict."""
    told: dict[str, Any] = {key: fields.get(key) for key in KEYS}
    for name in COLLECTIONS:
        prefix = f"{name}/"
        ids = sorted(key.removeprefix(prefix) for key in fields if key.startswith(prefix))
        told[name] = (ids, len(ids), ids[-1] if ids else "")
    told["size"] = sum(len(key) + len(raw) + 64 for key, raw in fields.items())
    return told


# Keys


@pytest.mark.parametrize(
    ("key", "name"),
    [("count", ""), ("notes/a", "notes"), ("notes/a/b", "notes"), ("notes/", "notes")],
)
def test_the_first_slash_of_a_key_ends_the_name_of_its_collection(key: str, name: str) -> None:
    assert collection_of(key) == name


def test_keys_that_only_the_store_has_are_not_published() -> None:
    stored = pack_fields({"count": 1, "$schema": 2, "%visits/a": 3})
    assert published(stored) == pack_fields({"count": 1, "$schema": 2})
    assert published(pack_fields({"count": 1})) == pack_fields({"count": 1})


def test_a_change_makes_a_room_larger_by_what_it_adds_less_what_it_replaces() -> None:
    stored = Content({"a": b"12", "long": b"x" * 70}, {})
    assert stored.size == 1 + 2 + 64 + 4 + 70 + 64
    assert value_size("a", None) == 0
    assert growth(stored, {"new": b"1"}, ["no such key"]) == 3 + 1 + 64
    assert growth(stored, {"a": b"1"}, ["long"]) == 1 - 2 - (4 + 70 + 64)


# Content


def test_an_overlay_has_the_size_that_replicas_have_after_its_commit() -> None:
    overlay = Overlay(content(count=1))
    overlay.apply(pack_fields({"people/a": "ann", "%visits/a": "x" * 900, "count": 2}), ["title"])
    replica = content(count=1)
    replica.apply(pack_fields({"people/a": "ann", "count": 2}), ["title"], b"followed")
    assert overlay.size == replica.size
    assert Content(dict(pack_fields({"%visits/a": "x" * 900})), {}).size > 900  # as in the store


def test_ids_are_in_the_order_of_code_points() -> None:
    stored = Content({}, {})
    for id in ("b", "10", "9", "\U00010000", "\uffff", "é", "B"):
        stored.apply({f"notes/{id}": b"1"}, (), b"tag")
    assert stored.ids("notes") == ["10", "9", "B", "b", "é", "\uffff", "\U00010000"]
    assert stored.last("notes") == "\U00010000"


@given(fields, st.lists(changes))
def test_content_is_a_dict_that_knows_its_ids(
    start: dict[str, bytes], program: list[Change]
) -> None:
    stored, model = Content(start, {}), dict(start)
    for change in program:
        stored.apply(*split(change), b"tag")
        model = changed(model, change)
        assert seen(stored) == expected(model)
    assert stored.fields == model


@given(fields, st.lists(changes, min_size=1))
def test_an_epoch_is_the_tag_of_the_last_commit_in_which_an_item_came_or_went(
    start: dict[str, bytes], program: list[Change]
) -> None:
    stored, model = Content(start, {}), dict(start)
    epochs = dict.fromkeys(COLLECTIONS, NO_EPOCH)
    for number, change in enumerate(program):
        tag = number.to_bytes(8)
        before, model = model, changed(model, change)
        for key in before.keys() ^ model.keys():
            epochs[collection_of(key)] = tag
        stored.apply(*split(change), tag)
        assert all(stored.epoch(name) == epochs[name] for name in COLLECTIONS)


def test_what_is_copied_stays_as_it_was() -> None:
    stored = content(count=1)
    stored.apply(pack_fields({"notes/a": 1}), (), b"tag-0001")
    fields, epochs = stored.copied()
    stored.apply(pack_fields({"count": 2}), ["notes/a"], b"tag-0002")
    assert fields == pack_fields({"count": 1, "notes/a": 1})
    assert epochs == {"notes": b"tag-0001"}


# An overlay


@given(fields, changes, changes)
def test_an_overlay_is_a_dict_and_leaves_its_base_alone(
    start: dict[str, bytes], first: Change, second: Change
) -> None:
    """Also over another overlay."""
    base = Content(start, {})
    lower = Overlay(base)
    lower.apply(*split(first))
    upper = Overlay(lower)
    for key, raw in second.items():
        upper.put(key, raw)
    assert seen(upper) == expected(changed(changed(start, first), second))
    assert seen(lower) == expected(changed(start, first))
    assert seen(base) == expected(start)


def test_an_overlays_last_id_is_not_one_that_it_deleted() -> None:
    view = Overlay(content(notes__a=1, notes__b=2))
    view.put("notes/b", None)
    assert view.last("notes") == "a"
    view.put("notes/a", None)
    assert view.last("notes") == ""
    view.put("notes/0", b"1")
    assert view.last("notes") == "0"


def test_changes_that_are_not_committed_leave_the_epoch_that_of_the_base() -> None:
    base = Content({}, {"notes": b"tag-0001"})
    view = Overlay(base)
    view.apply({"notes/a": b"1"}, ())
    assert view.epoch("notes") == b"tag-0001"
    view.apply({"notes/b": b"1"}, (), b"tag-0002")
    assert view.epoch("notes") == b"tag-0002"
    assert base.epoch("notes") == b"tag-0001"


def test_what_of_a_conflict_came_or_went_makes_the_epoch_unknown() -> None:
    """A conflict gives values, not the commits that they are of."""
    view = Overlay(Content(pack_fields({"notes/a": 1, "log/a": 1}), {}))
    values: dict[str, bytes | None] = {**pack_fields({"notes/a": 2}), "log/a": None}
    view.apply(values, (), UNKNOWN_EPOCH)
    assert view.epoch("notes") == NO_EPOCH
    assert view.epoch("log") == UNKNOWN_EPOCH


commits = st.lists(changes | st.just("catch up"))


@given(fields, commits)
def test_an_overlay_stays_true_while_its_base_follows_the_same_commits(
    start: dict[str, bytes], program: Iterable[Change | str]
) -> None:
    base, exact = Content(start, {}), Content(start, {})
    view, late = MovingOverlay(base), list[tuple[Mapping[str, bytes], list[str], bytes]]()
    for number, step in enumerate(program):
        if isinstance(step, dict):
            late.append((*split(step), number.to_bytes(8)))
            view.apply(*late[-1])
            exact.apply(*late[-1])
        elif late:
            base.apply(*late.pop(0))
        assert seen(view) == seen(exact)
        assert all(view.epoch(name) == exact.epoch(name) for name in COLLECTIONS)


def test_an_overlay_whose_base_follows_others_has_not_their_epoch_with_its_own_ids() -> None:
    """Who counted the ids would have the count confirmed."""
    base = content(notes__a=1)
    view = MovingOverlay(base)
    view.apply(pack_fields({"notes/a": 2}), (), b"tag-0002")
    base.apply({}, ["notes/a"], b"tag-0003")  # by somebody else
    assert view.count("notes") == 1
    assert view.epoch("notes") != b"tag-0003"
