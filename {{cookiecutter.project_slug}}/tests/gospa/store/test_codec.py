import contextlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gospa.store.codec import CodecError, pack, pack_fields, pack_map, unpack

times = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7, minutes=30))]))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | times
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(values)
def test_every_value_survives_a_round_trip(value: Any) -> None:
    assert unpack(pack(value)) == value


@given(st.dictionaries(st.text(), values))
def test_a_map_put_together_from_encoded_values_is_the_map(fields: dict[str, Any]) -> None:
    assert unpack(pack_map(pack_fields(fields))) == fields


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_codec_error(raw: bytes) -> None:
    with contextlib.suppress(CodecError):
        unpack(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"\xc0", None),
        (b"\xc2", False),
        (b"\xc3", True),
        (b"\x7f", 127),
        (b"\xe0", -32),
        (b"\xcf" + b"\xff" * 8, 2**64 - 1),
        (b"\xd3\x80" + bytes(7), -(2**63)),
        (b"\xcb\x3f\xf0" + bytes(6), 1.0),
        (b"\xa2hi", "hi"),
        (b"\xc4\x02hi", b"hi"),
        (b"\x92\x01\xc0", [1, None]),
        (b"\x81\xa1a\x90", {"a": []}),
        (b"\xd6\xff\x00\x00\x00\x01", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
    ],
)
def test_raw_bytes_mean_what_the_specification_says(raw: bytes, value: Any) -> None:
    assert unpack(raw) == value
    assert type(unpack(raw)) is type(value)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({1}, "set"),
        ((1, 2), "tuple"),
        (2**64, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        (datetime(2026, 1, 1), "time zone"),  # noqa: DTZ001
        ({1: 2}, "keys are text"),
        ({b"a": 2}, "keys are text"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ({"notes": [{"by": object()}]}, r"value\['notes'\]\[0\]\['by'\] is a object"),
    ],
)
def test_what_cannot_be_represented_is_named(value: Any, named: str) -> None:
    with pytest.raises(CodecError, match=named):
        pack(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        b"\xa5hi",
        b"\x01\x02",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x81\x01\x01",
        b"\xa1\xff",
        b"\xd4\x05x",
        b"\x91" * 100_000,
        b"\xc7\x0c\xff" + b"\xff" * 12,
    ],
)
def test_bytes_that_are_no_value_are_a_codec_error(raw: bytes) -> None:
    with pytest.raises(CodecError):
        unpack(raw)
