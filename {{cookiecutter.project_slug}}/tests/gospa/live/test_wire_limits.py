import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

import gospa
from gospa.live import wire
from gospa.store.contract import MAX_MUTATION, NO_TAG, splice

NAME = "x" * 128
ROOM = "x" * 512
Limit = tuple[Callable[[Any], list[Any]], list[Any], list[Any]]
LIMITS: dict[str, Limit] = {
    "room of JOIN": (lambda n: [0, n, None, None], [ROOM], ["", ROOM + "x"]),
    "room of LEAVE": (lambda n: [1, n], [ROOM], ["", ROOM + "x"]),
    "room of CALL": (lambda n: [2, 1, n, "add", {}], [ROOM], ["", ROOM + "x"]),
    "room of SEND": (lambda n: [4, n, "wave", None], [ROOM], ["", ROOM + "x"]),
    "version of JOIN": (lambda n: [0, "my", n, None], [0, 2**64 - 1], [-1]),
    "number of CALL": (lambda n: [2, n, "my", "add", {}], [1, MAX_MUTATION], [0, 2**53]),
    "number of WRITE": (lambda n: [3, n, "my", {}, []], [1, MAX_MUTATION], [0, 2**53]),
    "action": (lambda n: [2, 1, "my", n, {}], ["", NAME], [NAME + "x"]),
    "event": (lambda n: [4, "my", n, None], ["", NAME], [NAME + "x"]),
    "room of RUN": (lambda n: [7, bytes(16), n, "buy", {}], [ROOM], ["", ROOM + "x"]),
    "id of RUN": (lambda n: [7, n, "my", "buy", {}], [bytes(16)], [bytes(15), bytes(17), 1]),
    "command": (lambda n: [7, bytes(16), "my", n, {}], ["", NAME], [NAME + "x"]),
    "client": (lambda n: [6, n], [bytes(16)], [bytes(15), bytes(17)]),
    "release": (lambda n: [6, bytes(16), n], [None, "", "x" * 64], [1, b"x"]),
}

ENGINE = Path(gospa.__file__).parent
TYPES = (
    *("JOIN", "LEAVE", "CALL", "WRITE", "SEND", "PING", "HELLO", "RUN"),
    *("SNAPSHOT", "PATCH", "EVENT", "ACK", "ERROR", "WELCOME", "BYE", "PONG", "JOINED", "DONE"),
)


@pytest.mark.parametrize("limit", LIMITS)
def test_what_is_just_allowed_is_and_what_is_beyond_is_not(limit: str) -> None:
    message, allowed, refused = LIMITS[limit]
    for value in allowed:
        wire.parse(msgpack.packb(message(value)))
    for value in refused:
        with pytest.raises(wire.WireError):
            wire.parse(msgpack.packb(message(value)))


def published(*extra: Any) -> bytes:
    head, tail = wire.patch_parts("my", b"tag-0001", {}, ())
    if extra:
        head = bytes([head[0] + len(extra)]) + head[1:]
    return splice((head, tail), 1, NO_TAG) + b"".join(msgpack.packb(part) for part in extra)


def test_a_patch_with_more_to_it_is_none_of_ours() -> None:
    assert wire.read_patch(published()).version == 1
    with pytest.raises(wire.WireError):
        wire.read_patch(published(None))


def test_of_all_messages_only_an_event_is_one_and_only_an_ack() -> None:
    event, ack = wire.event("my", "wave", None, None), wire.ack(1, 1, None)
    messages = [
        wire.snapshot("my", 1, NO_TAG, {}),
        published(),
        event,
        ack,
        wire.error("invalid", "no"),
        wire.pong(),
        wire.joined("my", 1, NO_TAG, {}, ([], "full")),
        b"",
    ]
    assert [message for message in messages if wire.is_event(message)] == [event]


def test_close_codes_are_those_of_the_protocol() -> None:
    assert (wire.TEXT_FRAME.code, wire.RESTART.code, wire.SILENT.code) == (1003, 1012, 4000)
    assert (wire.NEW_TOKEN.code, wire.TOO_FAST.code) == (4001, 4002)
    again = (wire.NO_SESSION, wire.TOO_SLOW, wire.BEHIND, wire.ANOTHER)
    assert [close.code for close in again] == [4003, 4004, 4005, 4006]
    final = (wire.MALFORMED, wire.NO_HELLO, wire.SESSION_ENDED, wire.LOG_IN, wire.OUTDATED)
    assert [close.code for close in final] == [4500, 4501, 4502, 4503, 4504]


def test_types_and_close_codes_are_those_of_the_browser_client() -> None:
    source = (ENGINE / "client/protocol.js").read_text(encoding="utf-8")
    found = re.findall(r"^export const ([A-Z_]+) = (\d+)", source, re.MULTILINE)
    numbers = {name: int(number) for name, number in found}
    closes = {
        "OURS": wire.SILENT,
        "FOR_GOOD": wire.MALFORMED,
        "MISTAKE": wire.NO_HELLO,
        "NO_SESSION": wire.NO_SESSION,
        "ANOTHER": wire.ANOTHER,
        "OUTDATED": wire.OUTDATED,
    }
    assert {name: numbers.pop(name) for name in closes} == {
        name: close.code for name, close in closes.items()
    }
    assert numbers.pop("MAX_ROOM") == wire.MAX_ROOM
    assert numbers == {name: getattr(wire, name) for name in TYPES}


def test_types_and_close_codes_are_those_of_the_documentation() -> None:
    page = (ENGINE.parent / "docs/protocol.md").read_text(encoding="utf-8")
    types = dict(re.findall(r"^\| ([A-Z]+) \| `\[(\d)", page, re.MULTILINE))
    assert {name: int(number) for name, number in types.items()} == {
        name: getattr(wire, name) for name in TYPES
    }
    closes = {
        value.code: value.reason for value in vars(wire).values() if isinstance(value, wire.Close)
    }
    rows = re.findall(r"^\| (\d{4}) \| (.*?) \|", page, re.MULTILINE)
    of_websockets = dict.fromkeys((1002, 1009), "set by the WebSocket core")
    assert {int(code): reason for code, reason in rows} == closes | of_websockets
