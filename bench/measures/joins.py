"""A join storm: after a restart all clients come at once, and join one room."""

import os
from collections.abc import Iterator

import msgpack

from bench.centrifuge import CENTRIFUGO, STATE, publishing
from bench.figures import Sample
from bench.load import Speech
from bench.peers import OURS, PREFIX, new_room, ours, speech_of
from bench.processes import BenchError, Child
from bench.setting import Setting

CLIENTS = 2000
WARM = 20  # connections before
TEXT = "." * 2000  # the room's state
HEAD = b"\1" + (1).to_bytes(8) + b"8 bytes."


def measure(setting: Setting) -> Iterator[Sample]:
    """Time until all have joined and have the state, reads of the store, memory at the peak."""
    case = f"{CLIENTS:,} clients at once"
    for number in setting.rounds(3):
        for workers in (1, 2):
            setting.say(f"joins, round {number + 1}: {workers} worker(s)")
            subject = OURS if workers == 1 else f"{OURS}, 2 workers"
            on = setting.here if workers == 1 else setting.here | setting.there
            with setting.serve(ours(workers), on) as server:
                for metric, value in _storm(
                    setting, *server, _our_member(setting, server[1])
                ).items():
                    yield Sample("join storm", case, metric, subject, number, value)
        if setting.has(CENTRIFUGO):
            setting.say(f"joins, round {number + 1}: {CENTRIFUGO.name}")
            with setting.serve(CENTRIFUGO) as server:
                member = _its_member(setting, server[1])
                found = _storm(setting, *server, member)
                del found["room reads"]  # each client's subscription is one
                for metric, value in found.items():
                    yield Sample("join storm", case, metric, CENTRIFUGO.name, number, value)


def _our_member(setting: Setting, port: int) -> Speech:
    """Of a room that is in the store, and in no worker; all workers have started."""
    with setting.load.connect(port, WARM, speech_of(new_room().encode())):
        pass
    room = f"stated/{new_room().partition('/')[2]}"
    packed = os.fsdecode(msgpack.packb(TEXT))
    setting.ask_redis("-x", "hset", f"{PREFIX}{{{room}}}", ".value", packed, "h", stdin=HEAD)
    return speech_of(room.encode())


def _its_member(setting: Setting, port: int) -> Speech:
    """Of a channel that has a publication."""
    member = publishing(STATE + new_room(), TEXT)
    with setting.load.connect(port, 1, member, each=1) as load:
        load.run(0.1)
    return member


def _storm(setting: Setting, child: Child, port: int, member: Speech) -> dict[str, float]:
    before, reads, spent = child.resident(), setting.calls("hgetall"), child.cpu()
    with setting.load.connect(port, CLIENTS, member, parallel=CLIENTS) as load:
        figures = {
            "seconds until all joined": load.joined["seconds"],
            "us CPU per join": (child.cpu() - spent) / CLIENTS * 1e6,
            "bytes per join": load.joined["bytes"] / CLIENTS,
            "room reads": setting.calls("hgetall") - reads,
            "MiB more at the peak": (child.peak() - before) / 2**20,
        }
    if figures["bytes per join"] < len(TEXT):
        raise BenchError("clients joined without the state")
    return figures
