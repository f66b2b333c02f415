"""Mutations per second: sent over sockets, committed in Redis, acknowledged, seen by members."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import msgpack

from bench import frames
from bench.centrifuge import CENTRIFUGO, KEPT, MAP_BROKER, adding, publishing
from bench.figures import Sample
from bench.load import Speech
from bench.peers import (
    APP,
    OURS,
    PREFIX,
    SCRIPT,
    Peer,
    change_by_script,
    new_room,
    ours,
    speech_of,
)
from bench.processes import BenchError, Child
from bench.setting import Setting

ACK = b"\x94\x03"
KINDS = {
    "blind": lambda room: b"\x95\x03\xcf" + frames.SEQUENCE + room + b"\x81\xa5value\xa5abcde\x90",
    "read-modify-write": lambda room: b"\x95\x02\xcf" + frames.SEQUENCE + room + b"\xa3add\x80",
}
BLIND, READING = KINDS


class Case(NamedTuple):
    """Clients, what follows a room's name, and how many mutations each client has under way."""

    clients: int
    suffix: str = ""
    each: int = 1

    @property
    def name(self) -> str:
        """What it is called in the results."""
        rooms = f"{self.clients:,} rooms" if self.suffix else f"one room, {self.clients:,} members"
        if self.clients == 1:
            rooms = "one client"
        return f"{rooms}, {self.each} under way each" if self.each > 1 else rooms


class Subject(NamedTuple):
    """A server that is measured; `speech` is for a room and one of KINDS."""

    name: str
    child: Child
    port: int
    speech: Callable[[str, str], Speech]


OWN = "-@conn6"  # a room for each client
HOT, MANY, CROWD = Case(50), Case(1000, OWN), Case(1000)
CASES = [
    *(Case(1), Case(1, each=16), HOT, Case(50, each=2), Case(50, each=16)),
    *(Case(50, OWN, 16), MANY, CROWD),
]
OTHERS: list[tuple[Peer, Callable[[str, str], Speech]]] = [
    (SCRIPT, lambda room, _: change_by_script(room.encode())),
    (CENTRIFUGO, lambda room, _: publishing(KEPT + room)),
    (MAP_BROKER, lambda room, _: adding(room)),
]
REDIS_BENCHMARK = "redis-benchmark"


def measure(setting: Setting) -> Iterator[Sample]:
    """One worker beside others; in two cases two workers, and redis-benchmark with our script."""
    with ExitStack() as stack:
        one = Subject(OURS, *stack.enter_context(setting.serve(ours())), _call_ours)
        both = stack.enter_context(setting.serve(ours(2), setting.here | setting.there))
        two = Subject(f"{OURS}, 2 workers", *both, _call_ours)
        others = [
            Subject(peer.name, *stack.enter_context(setting.serve(peer)), speech)
            for peer, speech in OTHERS
            if setting.has(peer)
        ]
        for number in setting.rounds(3):
            for case in CASES:
                for kind in KINDS if case in (HOT, MANY) else (READING,):
                    what = f"{case.name}, {kind}"
                    setting.say(f"commits, round {number + 1}: {what}")
                    subjects = [one, two] if case in (HOT, MANY) else [one]
                    subjects += others if kind == READING else []
                    for subject in subjects:
                        if (subject.name, case) == (SCRIPT.name, CROWD):
                            continue  # it answers nobody
                        for metric, value in _mutations(setting, subject, case, kind).items():
                            yield Sample("commits", what, metric, subject.name, number, value)
                    if case in (HOT, MANY) and shutil.which(REDIS_BENCHMARK):
                        reached = redis_benchmark(setting, kind)
                        yield Sample("commits", what, "commits/s", REDIS_BENCHMARK, number, reached)


def _call_ours(room: str, kind: str) -> Speech:
    return speech_of(room.encode(), KINDS[kind](msgpack.packb(room)), ACK)


def _mutations(setting: Setting, subject: Subject, case: Case, kind: str) -> dict[str, float]:
    speech = subject.speech(f"{new_room()}{case.suffix}", kind)
    with setting.load.connect(subject.port, case.clients, speech, each=case.each) as load:
        load.run(0.3)  # creates the rooms
        before = subject.child.cpu()
        run = load.run(setting.seconds(1.5))
        spent = subject.child.cpu() - before
    if not run.answers:
        raise BenchError(f"{subject.name}, {case.name}: no mutation was answered")
    return {
        "commits/s": run.answers / run.seconds,
        "us CPU per commit": spent / run.answers * 1e6,
    }


def redis_benchmark(setting: Setting, kind: str) -> float:
    """What one C program with 50 connections gets out of Redis with this script."""
    script = (APP / "gospa/backends/redis/commit.lua").read_bytes()
    setting.ask_redis("-x", "script", "load", stdin=script)
    digest = hashlib.sha1(script, usedforsecurity=False).hexdigest()
    key = f"{PREFIX}{{{new_room()}}}"
    head = b"\1" + (1).to_bytes(8) + b"8 bytes."
    setting.ask_redis("-x", "hset", key, ".value", "abcde", "h", stdin=head)
    expect = ("1", "value", "abcde") if kind == "read-modify-write" else ("0",)
    before, after = b"\x97\x01\xa7bench/x", b"\xc4\x088 bytes.\x81\xa5value\xa5abcde\x90"
    times, published = 10_000 if setting.quick else 40_000, setting.calls("publish")
    command: list[str | bytes] = [
        *(REDIS_BENCHMARK, "-p", str(setting.place.redis), "-c", "50", "--csv"),
        *("-n", str(times), "-r", "1000000000"),
        *("evalsha", digest, "3", key, f"{key}:lock", f"{key}:__rand_int__"),
        *(key, "2592000000", "8 bytes.", before, after, "writer", "", "1", ""),
        *("PUBLISH", "", "", "1", "1", "86400000", ""),
        *(*expect, "0", "1", "value", "abcde", "0"),  # no epochs, one set, no deletes
    ]
    pinned = ["taskset", "-c", ",".join(map(str, setting.here)), *command]
    said = subprocess.run(pinned, capture_output=True, check=True).stdout.decode(errors="replace")
    if setting.calls("publish") - published < times * 0.99:  # a number may come twice
        raise BenchError(f"{REDIS_BENCHMARK}, {kind}: not all of its commits were made")
    return float(re.findall(r'"([\d.]+)"', said.splitlines()[-1])[-7])
