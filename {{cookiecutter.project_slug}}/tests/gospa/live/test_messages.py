"""Messages that the server takes, refuses, or closes the connection for."""

from typing import Any

import msgpack
import pytest
from websockets.exceptions import ConnectionClosed

from gospa.testing import Refused
from tests.gospa.raw_client import ConnectRaw


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ([2, 1, "sheet/a", "nothing", {}], "unknown_action"),
        ([2, 1, "sheet/a", "_note", {"id": "x"}], "unknown_action"),
        ([2, 1, "sheet/a", "__init__", {}], "unknown_action"),
        ([2, 1, "sheet/a", "authorize", {}], "unknown_action"),
        ([2, 1, "sheet/a", "add", {"amount": "1"}], "invalid"),
        ([2, 1, "sheet/a", "add", {"amount": 1.5}], "invalid"),
        ([2, 1, "sheet/a", "add", {"more": 1}], "invalid"),
        ([2, 1, "sheet/a", "add_note", {}], "invalid"),
        ([2, 1, "sheet/a", "add_note", {"text": ""}], "invalid"),
        ([2, 1, "sheet/a", "edit_note", {"id": "none", "text": "x"}], "refused"),
        ([2, 1, "sheet/b", "add", {}], "not_joined"),
        ([3, 1, "sheet/a", {"count": 9}, []], "invalid"),
        ([3, 1, "sheet/a", {}, ["count"]], "invalid"),
        ([4, "sheet/a", "shout", 1], "invalid"),
        ([4, "sheet/b", "shout", 1], "not_joined"),
        ([0, "nowhere", None, None], "unknown_room"),
        ([0, "sheet/../my", None, None], "unknown_room"),
        ([0, "sheet/a\u0308", None, None], "unknown_room"),
        ([0, "sheet/%41", None, None], "unknown_room"),
        ([7, bytes(16), "sheet/a", "nothing", {}], "unknown_action"),
        ([7, bytes(16), "sheet/b", "nothing", {}], "not_joined"),
    ],
)
async def test_what_a_room_refuses_is_an_error_that_changes_nothing(
    connect_raw: ConnectRaw, message: list[Any], code: str
) -> None:
    async with connect_raw() as member:
        await member.join("sheet/a")
        before = dict(await member.join("sheet/a"))
        await member.send(*message)
        answer = await member.until(lambda m: m[0] == 4)
        assert answer[2] == code
        assert await member.join("sheet/a") == before


MALFORMED = {
    "empty": b"",
    "not msgpack": b"\xc1",
    "truncated": b"\x93\x05",
    "trailing bytes": b"\x91\x05\x05",
    "a map": b"\x80",
    "no elements": b"\x90",
    "too few elements": msgpack.packb([0, "sheet/a"]),
    "a list as a room": msgpack.packb([0, ["sheet/a"], None, None]),
    "a room name of 513 letters": msgpack.packb([0, "a" * 513, None, None]),
    "mutation 0": msgpack.packb([2, 0, "sheet/a", "add", {}]),
    "mutation 2^64 - 1": msgpack.packb([2, 2**64 - 1, "sheet/a", "add", {}]),
    "nil as a key": msgpack.packb([2, 1, "sheet/a", "add", {None: 1}]),
    "bytes as a key": msgpack.packb([2, 1, "sheet/a", "add", {b"amount": 1}]),
    "an extension": msgpack.packb([4, "sheet/a", "x", msgpack.ExtType(9, b"x")]),
    "an array of 2^32 - 1": b"\xdd\xff\xff\xff\xff",
    "a map of 2^32 - 1": b"\xdf\xff\xff\xff\xff",
    "a text of 2^32 - 1": b"\xdb\xff\xff\xff\xff",
    "bytes of 2^32 - 1": b"\xc6\xff\xff\xff\xff",
    "an extension of 2^32 - 1": b"\xc9\xff\xff\xff\xff\x05",
    "a time beyond all years": b"\x94\x04\xa1a\xa1b\xc7\x0c\xff" + b"\xff" * 12,
    "a time of the wrong length": b"\x94\x04\xa1a\xa1b\xc7\x03\xff" + b"\x00" * 3,
    "NaN as a key": msgpack.packb([2, 1, "sheet/a", "add", {float("nan"): 1}]),
    "a number as a key": msgpack.packb([2, 1, "sheet/a", "add", {1: 1}]),
    "an array as a key": b"\x95\x02\x01\xa1a\xa1b\x81\x90\x01",
    "a lone surrogate": b"\x92\x01\xa3\xed\xa0\x80",
    "50,000 keys": b"\x95\x03\x01\xa2me\xde\xc3\x50" + b"\xa0\xc0" * 25_000,
    "60,000 empty maps": b"\x94\x04\xa1a\xa1b\xdc\xea\x60" + b"\x80" * 60_000,
    "a number as a room": msgpack.packb([0, 1, None, None]),
    "an empty room name": msgpack.packb([0, "", None, None]),
    "a list as arguments": msgpack.packb([2, 1, "sheet/a", "add", []]),
    "a text as a mutation": msgpack.packb([2, "1", "sheet/a", "add", {}]),
    "true as a mutation": msgpack.packb([2, True, "sheet/a", "add", {}]),
    "a map as keys to delete": msgpack.packb([3, 1, "my", {}, {}]),
    "a text as a tag": msgpack.packb([0, "sheet/a", 1, "12345678"]),
    "true as a type": msgpack.packb([True, "sheet/a"]),
    "a fraction as a type": msgpack.packb([5.0]),
    "nested 1,000 times": b"\x94\x04\xa1a\xa1b" + b"\x91" * 1000 + b"\x00",
    "bad UTF-8": b"\x92\x01\xa2\xff\xff",
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_message_closes_its_connection_alone(
    connect_raw: ConnectRaw, frame: bytes
) -> None:
    async with connect_raw() as bystander, connect_raw() as member:
        await bystander.join("sheet/a")
        await member.websocket.send(frame)
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 4500
        assert member.websocket.close_reason
        assert await bystander.call("sheet/a", "add") == 1


@pytest.mark.parametrize("message", [[8], [99, "sheet/a", {}], [-1], [2**40, None]])
async def test_a_message_that_only_a_later_release_has_is_refused_alone(
    connect_raw: ConnectRaw, message: list[Any]
) -> None:
    async with connect_raw() as member:
        await member.join("sheet/a")
        await member.send(*message)
        assert (await member.receive())[:3] == [4, None, "unknown_message"]
        assert await member.call("sheet/a", "add") == 1


async def test_elements_that_only_a_later_release_has_are_ignored(
    connect_raw: ConnectRaw,
) -> None:
    async with connect_raw(hello=False) as member:
        await member.send(6, bytes(16), None, "more", {})
        assert (await member.receive())[0] == 5
        await member.send(0, "sheet/a", None, None, None, "more")
        await member.until(lambda m: m[0] == 8)
        await member.send(2, 1, "sheet/a", "add", {}, {"more": 1}, [])
        assert (await member.answer(1))[3] == 1
        await member.send(5, 1)
        await member.until(lambda m: m[0] == 7)


@pytest.mark.parametrize(
    "payload",
    [
        *(float("nan"), float("inf"), 2**53 + 1, 2**64 - 1, -(2**63)),
        *({"__proto__": 1, "constructor": 2}, "\ufffe\0", bytes(1000)),
    ],
)
async def test_strange_values_are_values(connect_raw: ConnectRaw, payload: Any) -> None:
    async with connect_raw() as member:
        await member.send(4, "sheet/a", "shout", payload)
        assert (await member.receive())[2] == "not_joined"


async def test_of_a_key_that_comes_twice_the_last_counts(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        await member.join("sheet/a")
        twice = b"\x82\xa6amount\x05\xa6amount\x07"
        await member.websocket.send(b"\x95\x02\x01\xa7sheet/a\xa3add" + twice)
        assert (await member.answer(1))[3] == 7


async def test_a_frame_over_the_limit_closes_with_1009(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        await member.websocket.send(bytes(64 * 1024 + 1))
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 1009


@pytest.mark.parametrize("connect_raw", ["socket"], indirect=True)
async def test_a_text_frame_closes_with_1003(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        await member.websocket.send("hello")
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 1003


@pytest.mark.parametrize("connect_raw", ["socket"], indirect=True)
async def test_a_fragmented_message_is_one_message(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        message = msgpack.packb([0, "sheet/a", None, None])
        await member.websocket.send([message[:3], message[3:5], message[5:]])
        await member.until(lambda m: m[0] == 8)


@pytest.mark.parametrize("first", [[5], [0, "sheet/a", None, None], [2, 1, "a", "b", {}]])
async def test_what_comes_before_hello_closes_with_4501(
    connect_raw: ConnectRaw, first: list[Any]
) -> None:
    async with connect_raw(hello=False) as member:
        await member.send(*first)
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 4501


async def test_a_second_hello_closes_with_4501(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        await member.send(6, member.client)
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 4501


async def test_ping_is_answered_with_pong(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        await member.send(5)
        assert await member.receive() == [7]


async def test_a_connection_is_in_so_many_rooms_at_most(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        for number in range(64):
            await member.join(f"sheet/{number}")
        with pytest.raises(Refused, match="too many rooms"):
            await member.join("sheet/64")
