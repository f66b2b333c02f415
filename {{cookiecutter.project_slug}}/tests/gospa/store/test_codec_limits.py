from typing import Any

import pytest

from gospa.store.codec import MAX_DEPTH, CodecError, check_bounds, pack, unpack


def nested(levels: int, inside: Any) -> Any:
    for level in range(levels):
        inside = [inside] if level % 2 else {"a": inside}
    return inside


def test_nesting_may_go_as_deep_as_is_said() -> None:
    deepest = nested(MAX_DEPTH, 1)
    assert unpack(pack(deepest)) == deepest
    with pytest.raises(CodecError, match="nested deeper than 32 levels"):
        pack(nested(MAX_DEPTH + 1, 1))


def test_a_value_may_hold_as_many_values_as_is_said_and_as_deep() -> None:
    five = [1, {"a": [2, 3]}]
    check_bounds(five, elements=5, depth=3)
    with pytest.raises(CodecError, match="more than 4 values"):
        check_bounds(five, elements=4, depth=3)
    with pytest.raises(CodecError, match="nested deeper than 2 levels"):
        check_bounds(five, elements=5, depth=2)


@pytest.mark.parametrize("value", [True, 1.5, b"x", None, "x", 1])
def test_subclasses_of_values_are_no_values(value: Any) -> None:
    assert unpack(pack(value)) == value
    if value is not None and value is not True:
        with pytest.raises(CodecError, match="state cannot hold"):
            pack(type("Mine", (type(value),), {})(value))


def test_why_bytes_are_no_value_is_said() -> None:
    for raw, reason in ((b"\x01\x02", "received extra data"), (b"\xc1", "FormatError")):
        with pytest.raises(CodecError, match=reason):
            unpack(raw)
