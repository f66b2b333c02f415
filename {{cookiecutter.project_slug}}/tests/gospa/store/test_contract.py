from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from gospa.live.wire import Patch
from gospa.store.contract import (
    MAX_MUTATION,
    NO_TAG,
    Change,
    Commit,
    Conflict,
    Known,
    Moved,
    Numbered,
    Record,
    Snapshot,
    channel,
    splice,
)
from gospa.store.draft import Edits, fields_size, growth

CHANGE = Change(b"tag-0001", True, (b"", b""))


@pytest.mark.parametrize(
    "handed_on",
    [
        CHANGE,
        Commit(1),
        Conflict(),
        Edits({}, all_keys=False, set={}, delete=()),
        Known({}),
        Moved(None),
        Numbered("client", 1, 1, 60),
        Patch(1, NO_TAG, NO_TAG, {}, ()),
        Record(),
        Snapshot(1, NO_TAG, {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_handed_on_cannot_be_changed(handed_on: Any) -> None:
    assert not hasattr(handed_on, "__dict__")
    assert handed_on.__dataclass_params__.frozen
    for name in handed_on.__slots__:
        with pytest.raises(FrozenInstanceError):
            setattr(handed_on, name, None)


def test_a_change_by_itself_has_no_number_and_no_conditions() -> None:
    assert (CHANGE.mutations, CHANGE.attempt) == ((), 0)
    assert (CHANGE.expect, CHANGE.expect_tag) == ({}, None)


def test_a_record_keeps_the_refused_numbers_that_no_other_connection_applied() -> None:
    record = Record(5, 1, b"tag-0001", (2, 4))
    after = record.after(Numbered("client", 8, 9, 60, [3, 6, 7]), 2, b"tag-0002")
    assert after == Record(9, 2, b"tag-0002", (2, 4, 6, 7))


def test_a_conflict_is_resolved_by_the_values_that_differ_and_a_move_by_the_whole_room() -> None:
    base = Snapshot(3, b"tag-0001", {"a": b"1", "b": b"2", "c": b"3"})
    mixed = Snapshot(3, NO_TAG, {"a": b"9", "c": b"3", "d": b"4"})
    assert Conflict({"a": b"9", "b": None, "d": b"4"}).onto(base) == mixed
    assert Moved(mixed).onto(base) == mixed
    assert Moved(None).onto(base) == Snapshot(0, NO_TAG, {})


def test_the_largest_number_is_one_that_javascript_and_lua_count_exactly() -> None:
    assert MAX_MUTATION == 9_007_199_254_740_991


def test_version_and_parent_are_put_between_the_parts() -> None:
    message = splice((b"head", b"tail"), 258, b"parent-1")
    assert message == b"head\xcf\0\0\0\0\0\0\x01\x02\xc4\x08parent-1tail"
    assert NO_TAG == b"\0\0\0\0\0\0\0\0"


def test_a_rooms_keys_and_channel_share_a_slot() -> None:
    assert channel("sheet/lobby") == "{sheet/lobby}"


def test_a_change_makes_a_room_larger_by_what_it_adds_less_what_it_replaces() -> None:
    fields = {"a": b"12", "long": b"x" * 70}
    assert fields_size(fields.items()) == 1 + 2 + 64 + 4 + 70 + 64
    assert growth(fields, {"new": b"1"}, ["no such key"]) == 3 + 1 + 64
    assert growth(fields, {"a": b"1"}, ["long"]) == 1 - 2 - (4 + 70 + 64)
