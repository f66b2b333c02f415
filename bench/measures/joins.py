"""A join storm: after a restart all clients come at once, and join one room."""

from collections.abc import Iterator

from bench.figures import Sample
from bench.peers import OURS, new_room, ours, speech_of
from bench.setting import Setting

CLIENTS = 2000


def measure(setting: Setting) -> Iterator[Sample]:
    """Time until all have joined, reads of the store, memory at the peak."""
    for number in setting.rounds(3):
        for workers in (1, 2):
            setting.say(f"joins, round {number + 1}: {workers} worker(s)")
            subject = OURS if workers == 1 else f"{OURS}, 2 workers"
            on = setting.here if workers == 1 else setting.here | setting.there
            with setting.serve(ours(workers), on) as (child, port):
                before, reads = child.resident(), setting.calls("hgetall")
                speech = speech_of(new_room().encode())
                with setting.load.connect(port, CLIENTS, speech, parallel=CLIENTS) as load:
                    figures = {
                        "seconds until all joined": load.joined["seconds"],
                        "room reads": setting.calls("hgetall") - reads,
                        "MiB more at the peak": (child.peak() - before) / 2**20,
                    }
            for metric, value in figures.items():
                case = f"{CLIENTS:,} clients at once"
                yield Sample("join storm", case, metric, subject, number, value)
