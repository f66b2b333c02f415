"""Mutations per second: sent over sockets, committed in Redis, acknowledged, seen by members."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator

import msgpack

from bench import frames
from bench.figures import Sample
from bench.peers import APP, OURS, PREFIX, new_room, ours, speech_of
from bench.processes import BenchError, Child
from bench.setting import Setting

ACK = b"\x94\x03"
KINDS = {
    "blind": lambda room: b"\x95\x03\xcf" + frames.SEQUENCE + room + b"\x81\xa5value\xa5abcde\x90",
    "read-modify-write": lambda room: b"\x95\x02\xcf" + frames.SEQUENCE + room + b"\xa3add\x80",
}
# Clients, what follows a room's name, mutations that each client has under way
ROOMS = {
    "one room, 50 members": (50, "", 1),
    "one room, 50 members, 2 under way each": (50, "", 2),
    "one room, 50 members, 16 under way each": (50, "", 16),
    "1,000 rooms": (1000, "-@conn6", 1),
}
REDIS_BENCHMARK = "redis-benchmark"


def measure(setting: Setting) -> Iterator[Sample]:
    """One and two workers, and redis-benchmark with the same script and no pipelining."""
    with setting.serve(ours()) as one, setting.serve(ours(2), setting.here | setting.there) as two:
        for number in setting.rounds(3):
            for rooms in ROOMS:
                for kind in KINDS:
                    case = f"{rooms}, {kind}"
                    setting.say(f"commits, round {number + 1}: {case}")
                    for subject, (child, port) in ((OURS, one), (f"{OURS}, 2 workers", two)):
                        for metric, value in _mutations(setting, child, port, rooms, kind).items():
                            yield Sample("commits", case, metric, subject, number, value)
                    if shutil.which(REDIS_BENCHMARK):
                        reached = redis_benchmark(setting, kind)
                        yield Sample("commits", case, "commits/s", REDIS_BENCHMARK, number, reached)


def _mutations(
    setting: Setting, child: Child, port: int, rooms: str, kind: str
) -> dict[str, float]:
    clients, suffix, each = ROOMS[rooms]
    room = f"{new_room()}{suffix}"
    call = KINDS[kind](msgpack.packb(room))
    speech = speech_of(room.encode(), call, ACK)
    with setting.load.connect(port, clients, speech, each=each) as load:
        load.run(0.3)  # creates the rooms
        before = child.cpu()
        run = load.run(setting.seconds(1.5))
        spent = child.cpu() - before
    if not run.answers:
        raise BenchError(f"{rooms}, {kind}: no mutation was answered")
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
