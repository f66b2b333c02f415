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
from gospa.store.draft import Edits

CHANGE = Change(b"tag-0001", True, (b"", b""))


@pytest.mark.parametrize(
    "handed_on",
    [
        CHANGE,
        Commit(1),
        Conflict(),
        Edits(read={}, epochs={}, whole=False, set={}, delete=()),
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
    assert handed_on.__struct_config__.frozen
    for name in handed_on.__slots__:
        with pytest.raises(AttributeError):
            setattr(handed_on, name, None)


def test_a_change_by_itself_has_no_number_and_no_conditions() -> None:
    assert (CHANGE.mutations, CHANGE.attempt) == ((), 0)
    assert (CHANGE.expect, CHANGE.expect_epochs, CHANGE.expect_tag) == ({}, {}, None)
    assert not CHANGE


def test_a_record_keeps_the_refused_numbers_that_no_other_connection_applied() -> None:
    record = Record(5, 1, b"tag-0001", (2, 4))
    after = record.after(Numbered("client", 8, 9, 60, [3, 6, 7]), 2, b"tag-0002")
    assert after == Record(9, 2, b"tag-0002", (2, 4, 6, 7))


def test_the_largest_number_is_one_that_javascript_and_lua_count_exactly() -> None:
    assert MAX_MUTATION == 9_007_199_254_740_991


def test_version_and_parent_are_put_between_the_parts() -> None:
    message = splice((b"head", b"tail"), 258, b"parent-1")
    assert message == b"head\xcf\0\0\0\0\0\0\x01\x02\xc4\x08parent-1tail"
    assert NO_TAG == b"\0\0\0\0\0\0\0\0"


def test_a_rooms_keys_and_channel_share_a_slot() -> None:
    assert channel("sheet/lobby") == "{sheet/lobby}"
