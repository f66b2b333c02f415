"""What changes and joins cost by the number of items in a room, and presence by its members."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator

from bench import frames
from bench.figures import Sample
from bench.load import Speech
from bench.measures.changes import call_of
from bench.measures.commits import ACK
from bench.peers import APP, OURS, SERVERS, new_room, ours, speech_of
from bench.processes import BenchError, Child
from bench.setting import Setting

SIZES = (10, 1000, 10_000)
PORTION = 1000  # items that one call adds
CALLERS, JOINERS = 10, 50
MEMBERS = 4000
FEWER = 1000  # in a quick run
SETTLED = 2.0  # seconds in which all that came are told to all

Found = Iterator[tuple[str, str, float]]  # case, metric and value


def measure(setting: Setting) -> Iterator[Sample]:
    """Costs by size; each size has a room of its own in one server."""
    for number in setting.rounds(3):
        setting.say(f"items, round {number + 1}: drafts")
        yield from _samples(number, "cost by items", _drafts(setting))
        with setting.serve(ours()) as (child, port):
            for size in SIZES:
                setting.say(f"items, round {number + 1}: {size:,} items")
                found = _one_size(setting, child, port, size)
                yield from _samples(number, "cost by items", found)
        setting.say(f"items, round {number + 1}: presence")
        with setting.serve(ours()) as (_, port):
            yield from _samples(number, "presence", _presence(setting, port))


def _samples(number: int, measure: str, found: Found) -> Iterator[Sample]:
    for case, metric, value in found:
        yield Sample(measure, case, metric, OURS, number, value)


def _drafts(setting: Setting) -> Found:
    """The Python of a commit without the network, in a process of its own."""
    seconds = str(setting.seconds(0.5))
    program = [str(setting.place.python), str(SERVERS / "drafts.py"), seconds, *map(str, SIZES)]
    pinned = ["taskset", "-c", ",".join(map(str, setting.here)), *program]
    env = {**os.environ, "PYTHONPATH": f"{APP}:{SERVERS}"}
    said = subprocess.run(pinned, cwd=APP, env=env, capture_output=True, check=False, text=True)
    if said.returncode:
        raise BenchError(f"drafts.py failed:\n{said.stderr[-2000:]}")
    for size, times in json.loads(said.stdout).items():
        for name, value in times.items():
            yield f"{int(size):,} items: {name}", "us for draft, action, edits and replica", value


def _one_size(setting: Setting, child: Child, port: int, size: int) -> Found:
    room = new_room()
    for last in range(min(PORTION, size), size + 1, PORTION):
        first = max(last - PORTION, 0) + 1
        _once(setting, port, _speech(room, "fill", first=first, last=last))
    yield from _join(setting, child, port, room, f"{size:,} items: join")
    text = (frames.SEQUENCE_HEX + b" is another text").decode()
    speeches = {
        "change a field": _speech(room, "add"),
        "change an item": _speech(room, "edit", number=size // 2, text=text),
        "len": _speech(room, "count_notes"),
    }
    kept = new_room()
    _once(setting, port, _speech(kept, "fill_kept", keep=size))
    speeches["append and remove the oldest"] = _speech(kept, "append", keep=size)
    for name, speech in speeches.items():
        yield from _commits(setting, child, port, speech, f"{size:,} items: {name}")


def _speech(room: str, action: str, **arguments: object) -> Speech:
    return speech_of(room.encode(), call_of(room, action, arguments), ACK)


def _once(setting: Setting, port: int, speech: Speech) -> None:
    """Have one client call at least once."""
    with setting.load.connect(port, 1, speech, each=1) as load:
        while not load.run(0.1).answers:
            pass


def _join(setting: Setting, child: Child, port: int, room: str, case: str) -> Found:
    before = child.cpu()
    with setting.load.connect(port, JOINERS, speech_of(room.encode())) as load:
        yield case, "bytes to each member", load.joined["bytes"] / JOINERS
        spent = (child.cpu() - before) / JOINERS * 1e6
        yield case, "us CPU of the worker", spent


def _commits(setting: Setting, child: Child, port: int, speech: Speech, case: str) -> Found:
    with setting.load.connect(port, CALLERS, speech, each=1) as load:
        load.run(0.2)
        spent, script = child.cpu(), _script_us(setting)
        run = load.run(setting.seconds(1.0))
        spent, script = child.cpu() - spent, _script_us(setting) - script
    if not run.answers:
        raise BenchError(f"{case}: no mutation was answered")
    yield case, "mutations/s", run.answers / run.seconds
    yield case, "us CPU of the worker", spent / run.answers * 1e6
    yield case, "us of Redis", script / run.answers
    yield case, "bytes to each member", run.bytes / run.answers / CALLERS


def _script_us(setting: Setting) -> float:
    """Microseconds that Redis spent in the script so far."""
    said = setting.ask_redis("info", "commandstats")
    return sum(map(float, re.findall(r"^cmdstat_evalsha:calls=\d+,usec=(\d+)", said, re.MULTILINE)))


def _presence(setting: Setting, port: int) -> Found:
    """Bytes to those who are in a room's list of members, and to one who joins."""
    room = f"{new_room()}#members".encode()
    members = FEWER if setting.quick else MEMBERS
    case = f"{members:,} members"
    with setting.load.connect(port, members, speech_of(room), parallel=members) as load:
        time.sleep(SETTLED)
        later = load.run(0.5).bytes
        yield case, "bytes to each while all come", (load.joined["bytes"] + later) / members
        with setting.load.connect(port, 1, speech_of(room)) as one:
            yield case, "bytes to one who joins", one.joined["bytes"]
            time.sleep(SETTLED)
            yield case, "bytes to each when one more comes", load.run(0.5).bytes / members
