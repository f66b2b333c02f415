"""What others notice of a client that sends as fast as it can, under the limits that are usual."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.figures import Sample
from bench.flood import KINDS
from bench.peers import OURS, PREFIX, ours
from bench.setting import Setting

CLIENTS, SIZE, RATE = 100, 200, 100
CALM = "nobody"
ROOT = Path(__file__).parents[2]


def measure(setting: Setting) -> Iterator[Sample]:
    """Delays of messages to a room at a fixed rate, while somebody floods the worker."""
    limited = replace(ours(), env={"GOSPA_KEY_PREFIX": PREFIX})
    for number in setting.rounds(3):
        for kind in (CALM, *KINDS):
            setting.say(f"floods, round {number + 1}: {kind}")
            fan = limited.fan()
            with (
                setting.serve(limited) as (child, port),
                setting.load.connect(port, CLIENTS, fan.speech, redis=setting.place.redis) as load,
            ):
                load.run(0.5, rate=RATE, command=fan.publish(SIZE))  # to warm up
                idle = child.resident()
                if kind != CALM:
                    command = [sys.executable, "-m", "bench.flood", str(port), kind]
                    flood = setting.stage.start("flood", command, setting.there, cwd=ROOT)
                run = load.run(setting.seconds(4), rate=RATE, command=fan.publish(SIZE))
                grown = child.resident() - idle
                if kind != CALM:
                    setting.stage.stop(flood)
            run.check(f"{kind} floods")
            case = f"{kind} floods, {CLIENTS} clients, {RATE}/s"
            yield Sample("floods", case, "p99 ms", OURS, number, run.p99_us / 1000)
            yield Sample("floods", case, "MiB grown", OURS, number, grown / 2**20)
