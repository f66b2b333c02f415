"""For how long a worker with many rooms or connections answers nobody."""

import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

from bench import frames
from bench.figures import Sample
from bench.load import Speech
from bench.measures.inbound import PING, PONG
from bench.peers import OURS, ours, speech_of
from bench.processes import HOST, Child
from bench.setting import Setting

SECONDS = 25.0  # two comparisons of all rooms with the store, one of all sessions
PAUSE = 0.002  # seconds between two questions
BUSY = 0.5  # of a core: above it, a worker is still opening rooms
CALM = 3  # seconds in a row: it may also have waited for Redis
# Connections, and the rooms that each joins
CASES = {"no rooms": (0, 0), "10,000 rooms": (1000, 10), "10,000 connections": (10_000, 1)}
LARGE = {"50,000 rooms": (1000, 50)}


def measure(setting: Setting) -> Iterator[Sample]:
    """The longest answer to a client that asks all the time; all intervals have their defaults."""
    env = dict(ours().env) | {"GOSPA_ROOMS_PER_HOUR": "1000000000"}
    del env["GOSPA_HEAD_CHECK_INTERVAL"]
    for number in setting.rounds(1):
        for case, (clients, rooms) in (CASES if setting.quick else CASES | LARGE).items():
            setting.say(f"stalls: {case}")
            with setting.serve(replace(ours(), env=env)) as (child, port):
                if not clients:
                    figures = _ask(setting, child, port)
                else:
                    with setting.load.connect(port, clients, _members(rooms)):
                        _settle(child)
                        figures = _ask(setting, child, port)
            for metric, value in figures.items():
                yield Sample("stalls", case, metric, OURS, number, value)


def _members(rooms: int) -> Speech:
    """Each connection joins rooms of its own, or one that is the same for all."""
    name = f"quiet/{secrets.token_hex(3)}"
    if rooms == 1:
        return speech_of(name.encode())
    first, *others = (f"{name}-@conn6-{number}".encode() for number in range(rooms))
    return speech_of(first, others=others)


def _settle(child: Child) -> None:
    """Wait until all rooms are open."""
    calm = 0
    while calm < CALM:
        before = child.cpu()
        time.sleep(1)
        calm = calm + 1 if child.cpu() - before < BUSY else 0


def _ask(setting: Setting, child: Child, port: int) -> dict[str, float]:
    """Ask again and again; returns how long answers took, and the worker's share of its core."""
    speech = speech_of(b"quiet/asking")
    took: list[float] = []
    with socket.create_connection((HOST, port)) as asking:
        asking.sendall(speech.request + speech.opening)
        _read_until(asking, speech.ready)
        before, began = child.cpu(), time.perf_counter()
        while (now := time.perf_counter()) - began < setting.seconds(SECONDS):
            asking.sendall(frames.frame(PING))
            _read_until(asking, PONG)
            took.append(time.perf_counter() - now)
            time.sleep(PAUSE)
        spent = child.cpu() - before
    return {
        "longest answer, ms": max(took) * 1000,
        "p99 ms": sorted(took)[len(took) * 99 // 100] * 1000,
        "worker's share of its core": spent / setting.seconds(SECONDS),
    }


def _read_until(asking: socket.socket, mark: bytes) -> None:
    received = b""
    while mark not in received:
        received = received[-len(mark) :] + asking.recv(65_536)
