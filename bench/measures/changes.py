"""Bytes that a change of one key costs, in a state of 100 keys."""

import json
from collections.abc import Iterator

import msgpack

from bench import frames
from bench.figures import Sample
from bench.measures.commits import ACK
from bench.peers import OURS, new_room, ours, speech_of
from bench.setting import Setting

KEYS = 100
VALUE = {"text": "twelve words " * 3, "color": 7, "done": False}
WHOLE = "whole state as JSON"


def measure(setting: Setting) -> Iterator[Sample]:
    """Our bytes as counted by client and store; JSON's are the state's and no command's."""
    room = new_room()
    fill = call_of(room, "fill", {"first": 1, "last": KEYS})
    text = (frames.SEQUENCE_HEX + b" is another text").decode()  # another one each time
    edit = call_of(room, "edit", {"number": 7, "text": text})
    setting.say("changes: bytes for one key of 100")
    with setting.serve(ours()) as (_, port):
        with setting.load.connect(port, 1, speech_of(room.encode(), fill, ACK), each=1) as load:
            load.run(0.1)
        with setting.load.connect(port, 1, speech_of(room.encode(), edit, ACK), each=1) as load:
            before = _received(setting)
            run = load.run(setting.seconds(0.5))
            stored = (_received(setting) - before) / run.answers
    whole = len(json.dumps({"count": 0} | {f"key-{n}": VALUE for n in range(KEYS)}))
    case = f"1 key of {KEYS}"
    for metric, subject, value in (
        ("bytes to the caller, with the ACK", OURS, run.bytes / run.answers),
        ("bytes to the caller, with the ACK", WHOLE, whole),
        ("bytes to the store", OURS, stored),
        ("bytes to the store", WHOLE, whole),
    ):
        yield Sample("bytes per change", case, metric, subject, 0, value)


def call_of(room: str, action: str, arguments: dict[str, object]) -> bytes:
    """The CALL of an action."""
    named = msgpack.packb(room) + msgpack.packb(action) + msgpack.packb(arguments)
    return b"\x95\x02\xcf" + frames.SEQUENCE + named


def _received(setting: Setting) -> int:
    for line in setting.ask_redis("info", "stats").splitlines():
        if line.startswith("total_net_input_bytes:"):
            return int(line.partition(":")[2])
    raise ValueError("Redis does not say what it received")
