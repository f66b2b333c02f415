import contextlib
import os
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gospa.live import wire
from gospa.member import Member
from gospa.store.codec import pack, pack_fields
from gospa.store.content import HIDDEN
from gospa.store.contract import splice

tags = st.binary(min_size=8, max_size=8)
versions = st.integers(min_value=1, max_value=2**64 - 1)
keys = st.text(max_size=20).filter(lambda key: not key.startswith(HIDDEN))
fields = st.dictionaries(keys, st.integers() | st.text() | st.binary()).map(
    lambda values: {k: v for k, v in values.items() if not isinstance(v, int) or abs(v) < 2**63}
)


def unpacked(message: bytes) -> list[Any]:
    return list(msgpack.unpackb(message, timestamp=3))


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        ([0, "sheet/a", None, None], wire.Join("sheet/a", None, None)),
        ([0, "sheet/a", 3, b"tagtagta"], wire.Join("sheet/a", 3, b"tagtagta")),
        ([0, "a", None, None, ["x"]], wire.Join("a", None, None, ["x"])),
        ([1, "sheet/a"], wire.Leave("sheet/a")),
        ([2, 1, "sheet/a", "add", {"amount": 2}], wire.Call(1, "sheet/a", "add", {"amount": 2})),
        ([3, 1, "my", {"note": "x"}, ["y"]], wire.Write(1, "my", {"note": "x"}, ["y"])),
        ([4, "sheet/a", "wave", [1, None]], wire.Send("sheet/a", "wave", [1, None])),
        ([5], wire.Ping()),
        ([6, bytes(16)], wire.Hello(bytes(16))),
        ([7, bytes(16), "a", "buy", {"x": 1}], wire.Run(bytes(16), "a", "buy", {"x": 1})),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_message_of_the_client_is_read(message: list[Any], request_: wire.Request) -> None:
    assert wire.parse(msgpack.packb(message)) == request_


@given(st.binary(max_size=100))
def test_any_bytes_are_a_request_or_a_wire_error(frame: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        assert isinstance(wire.parse(frame), wire.Request)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 10) | st.text(max_size=3) | st.binary(),
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner),
    )
)
def test_any_value_is_a_request_or_a_wire_error(value: Any) -> None:
    with contextlib.suppress(wire.WireError):
        assert isinstance(wire.parse(msgpack.packb(value)), wire.Request)


@given(versions, tags, tags, fields, st.lists(keys))
def test_what_the_store_publishes_is_a_patch_as_the_protocol_has_it(
    version: int, parent: bytes, tag: bytes, changed: dict[str, Any], deleted: list[str]
) -> None:
    message = splice(
        wire.patch_parts("sheet/a", tag, pack_fields(changed), deleted), version, parent
    )
    assert unpacked(message) == [1, "sheet/a", version, parent, tag, changed, deleted]
    assert wire.read_patch(message) == wire.Patch(
        version, parent, tag, pack_fields(changed), deleted
    )


def test_a_version_is_always_in_the_nine_byte_form() -> None:
    message = splice(wire.patch_parts("a", bytes(8), {}, ()), 1, bytes(8))
    assert b"\xcf" + (1).to_bytes(8) in message


@given(st.binary(max_size=60))
def test_any_bytes_published_are_a_patch_or_a_wire_error(message: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        assert isinstance(wire.read_patch(message), wire.Patch)


def test_messages_of_the_server_are_as_the_protocol_has_them() -> None:
    tag = os.urandom(8)
    state = pack_fields({"a": [1, None], "b": {"c": b"\xff"}})
    assert unpacked(wire.snapshot("r", 7, tag, state)) == [
        0,
        "r",
        7,
        tag,
        {"a": [1, None], "b": {"c": b"\xff"}},
    ]
    assert unpacked(wire.event("r", "wave", {"x": 1}, None)) == [2, "r", "wave", {"x": 1}, None]
    ann = Member("a1", "ann", info={"name": "Ann"}, claims="the queen")
    sender = {"id": "a1", "user": "ann", "info": {"name": "Ann"}}
    assert unpacked(wire.event("r", "wave", 1, ann)) == [2, "r", "wave", 1, sender]
    assert unpacked(wire.ack(3, 7, "done")) == [3, 3, 7, "done"]
    assert unpacked(wire.done(bytes(16), [1])) == [9, bytes(16), [1]]
    assert unpacked(wire.error("busy", "wait", mutation=bytes(16), room="r"))[1] == bytes(16)
    assert unpacked(wire.error("invalid", "no", mutation=3, room="r")) == [
        4,
        3,
        "invalid",
        "no",
        "r",
    ]
    assert unpacked(wire.error("invalid", "no")) == [4, None, "invalid", "no", None]
    session = {"id": "s", "user": None}
    assert unpacked(wire.welcome("id", {"pid": 1}, session)) == [5, 1, "id", {"pid": 1}, session]
    assert unpacked(wire.bye(wire.RESTART, 500)) == [6, 1012, 500]
    assert unpacked(wire.pong()) == [7]
    defaults = {"count": pack(0)}
    joined = wire.joined("r", 7, tag, defaults, (["notes"], "read"))
    assert unpacked(joined) == [8, "r", 7, tag, {"count": 0}, ["notes"], "read"]


def test_what_is_hidden_is_not_published() -> None:
    parts = wire.patch_parts("a", bytes(8), {"%x/1": b"\x01", "$x/1": b"\x02"}, ["%x/2", "y"])
    assert unpacked(splice(parts, 1, bytes(8)))[5:] == [{"$x/1": 2}, ["y"]]


@pytest.mark.parametrize("kind", [wire.KICK, wire.REAUTHORIZE])
def test_a_notice_to_workers_is_read_and_anything_else_is_none(kind: int) -> None:
    assert wire.read_notice(wire.notice(kind, "ann", None)) == wire.Notice(kind, "ann", None)
    event = wire.event("a", "b", None, None)
    for other in (b"", bytes([0x93, kind]), bytes([0x93, kind, 1, 2]), event):
        assert wire.read_notice(other) is None
