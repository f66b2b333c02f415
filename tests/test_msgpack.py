"""The browser's msgpack codec in Chromium: against Python's, the published vectors, any bytes."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, Route

from tests.baking import APP

CODEC = APP / "gospa/client/msgpack.js"
YEAR_ONE = -62_135_596_800  # in seconds; no date before it is sent, Python has none
# Each case is one value's bytes. What comes back are the bytes it has after a round trip through
# JavaScript, or the name of the error.
ROUND_TRIP = """async (cases) => {
  const { decode, encode } = await import('/msgpack.js');
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const text = (bytes) => btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(''));
  return cases.map((each) => {
    try { return text(encode(decode(bytes(each)))); } catch (error) { return `!${error.name}`; }
  });
}"""

Trip = Callable[[list[bytes]], list[bytes | str]]

# What JavaScript's Date has is whole milliseconds.
instants = st.datetimes(timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([n + d for n in (2**53, -(2**53), 2**32, -(2**31), 2**7) for d in (-1, 0, 1)])
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | instants
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("__proto__"), inner),
    max_leaves=20,
)
thorough = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """A page that has nothing but the codec."""
    page = browser.new_page()

    def answer(route: Route) -> None:
        if route.request.url.endswith(".js"):
            route.fulfill(path=CODEC, content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    page.route("**/*", answer)
    page.goto("http://codec.test/")
    yield page
    page.close()


@pytest.fixture(scope="module")
def trip(page: Page) -> Trip:
    """Send values through the browser and back."""

    def send(cases: list[bytes]) -> list[bytes | str]:
        texts = page.evaluate(ROUND_TRIP, [base64.b64encode(case).decode() for case in cases])
        return [text if text[:1] == "!" else base64.b64decode(text) for text in texts]

    return send


def packed(value: Any) -> bytes:
    raw: bytes = msgpack.packb(value, datetime=True)
    return raw


def unpacked(raw: bytes | str) -> Any:
    assert isinstance(raw, bytes), raw
    return msgpack.unpackb(raw, timestamp=3)


@thorough
@given(cases=st.lists(values, min_size=1, max_size=20))
def test_any_value_of_python_survives_a_round_trip(trip: Trip, cases: list[Any]) -> None:
    returned = trip([packed(value) for value in cases])
    assert [unpacked(raw) for raw in returned] == cases


@thorough
@given(cases=st.lists(values.map(packed) | st.binary(max_size=60), max_size=20), data=st.data())
def test_any_bytes_are_a_value_or_a_msgpack_error(
    trip: Trip, cases: list[bytes], data: st.DataObject
) -> None:
    cut = [case[: data.draw(st.integers(0, len(case)))] for case in cases]
    for case, returned in zip(cut, trip(cut), strict=True):
        if isinstance(returned, str):
            assert returned == "!MsgpackError"
        else:
            assert msgpack.unpackb(returned, timestamp=0, strict_map_key=False) is not Ellipsis
            with_python = msgpack.Unpacker(timestamp=0, strict_map_key=False)
            with_python.feed(case)
            with_python.unpack()
            assert with_python.tell() == len(case), "bytes after the value were ignored"


@pytest.mark.parametrize(
    "case",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\x91" * 1000 + b"\xc0",
        b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa1a" * 1000 + b"\xc0",
        *(first + b"\xff" * 4 for first in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")),
        *(first + b"\xff" * 4 + b"\xc0" * 1000 for first in (b"\xdd", b"\xdf")),
        b"\xa2\xc3\x28",
        b"\xa3\xed\xa0\x80",
        b"\x81\x01\x02",
        b"\x81\xc0\x02",
        b"\xd4\x07\x00",
        b"\xd6\x07" + bytes(4),
        b"\xc7\x0c\xff\x3b\x9a\xca\x00" + bytes(8),
        b"\xc7\x0c\xff\x00\x00\x00\x00\x7f" + b"\xff" * 7,
        b"\xc7\x05\xff" + bytes(5),
    ],
    ids=lambda case: case[:8].hex() or "empty",
)
def test_hostile_bytes_are_refused(trip: Trip, case: bytes) -> None:
    assert trip([case]) == ["!MsgpackError"]


def test_a_million_empty_maps_are_just_that(trip: Trip) -> None:
    many = b"\xdd" + (10**6).to_bytes(4) + b"\x80" * 10**6
    assert trip([many]) == [many]


def test_nan_and_infinities_survive(trip: Trip) -> None:
    (returned,) = trip([packed([float("nan"), float("inf"), float("-inf")])])
    assert str(unpacked(returned)) == "[nan, inf, -inf]"


@pytest.mark.parametrize("name", ["__proto__", "constructor", "toString", "", "\0"])
def test_any_key_is_only_a_key(trip: Trip, name: str) -> None:
    value = {name: {"polluted": True}, "other": 1}
    assert [unpacked(raw) for raw in trip([packed(value)])] == [value]


def test_what_msgpack_cannot_carry_is_refused(page: Page) -> None:
    names = page.evaluate("""async () => {
      const { encode } = await import('/msgpack.js');
      const cycle = [];
      cycle.push(cycle);
      const deep = Array.from({ length: 65 }).reduce((inner) => [inner], null);
      const wrong = [undefined, Symbol('s'), () => 1, new Map(), new Date(NaN), new Date(8.64e15),
        new Date(-8.64e15), 2n ** 64n, -(2n ** 63n) - 1n, '\\ud800', { '\\udfff': 1 }, cycle, deep,
        [1, [undefined]], { a: new Set() }];
      return wrong.map((value) => {
        try { return String(encode(value)); } catch (error) { return error.name; }
      });
    }""")
    assert names == ["MsgpackError"] * 15


def test_the_published_vectors_are_understood(trip: Trip, node_modules: Path) -> None:
    source = node_modules / "msgpack-test-suite/dist/msgpack-test-suite.json"
    groups: dict[str, list[dict[str, Any]]] = json.loads(source.read_text(encoding="utf-8"))
    checked = 0
    for group in groups.values():
        for vector in group:
            cases = [bytes.fromhex(text.replace("-", "")) for text in vector["msgpack"]]
            for returned in trip(cases):
                if "ext" in vector or vector.get("timestamp", [0])[0] < YEAR_ONE:
                    assert returned == "!MsgpackError"
                else:
                    assert unpacked(returned) == expected(vector), vector
                checked += 1
    assert checked > 200


def expected(vector: dict[str, Any]) -> Any:
    """The value of a vector, in whole milliseconds if it is a time."""
    match vector:
        case {"timestamp": [seconds, nanoseconds]}:
            time = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
            return time + timedelta(milliseconds=nanoseconds // 1_000_000)
        case {"bignum": digits}:
            return int(digits)
        case {"binary": text}:
            return bytes.fromhex(text.replace("-", ""))
    (value,) = [value for name, value in vector.items() if name != "msgpack"]
    return value


def test_what_cannot_be_encoded_is_named(page: Page) -> None:
    told = page.evaluate("""async () => {
      const { encode } = await import('/msgpack.js');
      const bad = [2n ** 64n, '\\ud800', undefined, new Date(NaN), () => 1];
      return bad.map((value) => {
        try { encode([1, { args: { text: [value] } }]); } catch ({ message }) { return message; }
      });
    }""")
    assert len(told) == 5
    assert all(message.startswith("args: text: ") for message in told)
