"""What is accepted can be read again, equal; what is not is refused: each type at its limits."""

import enum
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from gospa.action import Event
from gospa.errors import Invalid
from gospa.signature import Signature, plain, read_signature
from gospa.store.codec import CodecError, encode, pack, unpack
from gospa.store.values import ValueType

LIMITS = (datetime.min, datetime.max)  # noqa: DTZ901 - those of their own time zones
BOUNDS = (0, 2**31, 2**32, 2**53, 2**63, 2**64)


class Color(enum.Enum):
    RED = "red"


class Part(Struct):
    number: float = 0.0
    more: Any = None


class Nowhere(tzinfo):
    """A time zone that does not say where it is."""

    def utcoffset(self, _: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
integers = st.integers() | st.sampled_from(
    [sign * bound + more for bound in BOUNDS for sign in (1, -1) for more in (-1, 0, 1)]
)
texts = st.text(st.characters()) | st.sampled_from(["", "\0", "\ud800", "😀", "x" * 70_000])
times = st.datetimes(timezones=zones) | st.sampled_from(
    [
        each.replace(tzinfo=timezone(timedelta(hours=hours)))
        for each in LIMITS
        for hours in (-12, 0, 14)
    ]
)
floats = st.floats() | st.sampled_from([-0.0, 5e-324, math.inf, math.nan])
anything = st.recursive(
    st.none() | st.booleans() | integers | floats | texts | st.binary() | times,
    lambda inner: st.lists(inner) | st.dictionaries(texts | st.integers() | st.binary(), inner),
    max_leaves=8,
)
TYPED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, integers),
    (float, floats | integers),
    (float | None, floats | integers | st.none()),
    (str, texts),
    (bytes, st.binary()),
    (bool, st.booleans() | st.integers()),
    (datetime, times | st.datetimes()),
    (date, st.dates()),
    (time, st.times()),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False)),
    (Color, st.sampled_from(Color)),
    (Literal["a", 1], st.sampled_from(["a", 1, True])),
    (list[str], st.lists(texts)),
    (set[int], st.sets(integers)),
    (tuple[str, ...], st.lists(texts).map(tuple)),
    (dict[str, float], st.dictionaries(texts, floats | integers)),
    (Any, anything),
    (Part, st.builds(Part, number=floats | integers, more=anything)),
]


def same(one: Any, other: Any) -> bool:
    """Whether they are equal, with numbers that are none equal to themselves."""
    if isinstance(one, Struct):
        one, other = (
            [getattr(each, name) for name in each.__struct_fields__] for each in (one, other)
        )
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float | int) and isinstance(other, float):
        return (
            math.isnan(other)
            if isinstance(one, float) and math.isnan(one)
            else (float(one) == other and math.copysign(1, one) == math.copysign(1, other))
        )
    return bool(one == other)


@given(st.data())
@pytest.mark.parametrize(("kind", "given_values"), TYPED, ids=[str(each) for each, _ in TYPED])
def test_what_a_field_accepts_is_read_again_by_python_and_by_readers_without_types(
    kind: Any, given_values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    value, type_ = data.draw(given_values), ValueType(kind, "State.field")
    try:
        raw = type_.encode(value)
    except CodecError:
        return  # test_values.py has what it says
    stored = type_.decode(raw, "field")
    assert same(value, stored)
    assert same(stored, type_.decode(type_.encode(stored), "field"))
    assert not type_.changed(stored, raw)
    pack(unpack(raw))  # as clients and other releases read it


@given(anything)
def test_what_a_session_an_event_or_a_result_may_hold_is_read_again(value: Any) -> None:
    sent = Event(object)
    sent.name = "told"
    for give in (pack, lambda value: pack(plain(value, "it")), lambda v: pack(sent.payload(v))):
        try:
            raw = give(value)
        except (CodecError, Invalid):
            continue
        assert same(value, unpack(raw))


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        (LIMITS[0].replace(tzinfo=timezone(timedelta(hours=14))), "years 1 to 9999"),
        (LIMITS[1].replace(tzinfo=timezone(-timedelta(hours=12))), "years 1 to 9999"),
        (datetime(2026, 1, 1, tzinfo=Nowhere()), "without a time zone"),
        (datetime(2026, 1, 1), "without a time zone"),  # noqa: DTZ001 - it is the mistake
    ],
)
def test_a_time_that_nobody_could_read_again_is_refused(time: datetime, reason: str) -> None:
    with pytest.raises(CodecError, match=rf"value\['at'\] is a datetime .*{reason}"):
        pack({"at": time})
    with pytest.raises(CodecError):
        ValueType(Any, "State.field").encode([time])


@pytest.mark.parametrize("time", LIMITS)
def test_the_first_and_the_last_time_are_read_again(time: datetime) -> None:
    at = time.replace(tzinfo=UTC)
    assert unpack(pack(at)) == at


@pytest.mark.parametrize("value", [2**53 + 1, 2**63, -(2**63), 2**64 - 1])
def test_an_int_in_a_field_of_floats_is_stored_as_a_float(value: int) -> None:
    raw = ValueType(list[float], "State.field").encode([value])
    assert unpack(raw) == [float(value)]
    assert type(unpack(raw)[0]) is float  # else a browser would get a bigint


@pytest.mark.parametrize(
    "value", [bytearray(b"x"), Decimal(1), {1}, (1,), Color.RED, timedelta(1), Part(), {"a": (1,)}]
)
def test_a_field_of_any_type_takes_only_what_it_gives_back(value: Any) -> None:
    with pytest.raises(CodecError, match="which state cannot hold"):
        ValueType(Any, "State.field").encode(value)


def called(function: Callable[..., Any]) -> Signature:
    return read_signature(function, "Room.act", first=None, injected=Event)


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, "\ud800", {1: "x"}, {"\ud800": 1}, [[LIMITS[1]]], object()]
)
def test_what_the_application_gives_is_refused_with_the_name_of_the_argument(value: Any) -> None:
    def act(self: object, first: int, second: Any) -> None:
        """Do nothing."""

    assert called(act).named((1,), {"second": (1, 2)}) == {"first": 1, "second": (1, 2)}
    with pytest.raises(Invalid, match=r"^act: second"):
        called(act).named((1, value), {})


def test_a_result_may_be_a_tuple_and_arrives_as_a_list() -> None:
    assert unpack(encode(plain({"at": (1, ("a",))}, "the result"))) == {"at": [1, ["a"]]}
