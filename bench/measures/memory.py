"""What an idle connection costs a server in memory and time."""

import time
from collections.abc import Iterator

from bench.figures import Sample
from bench.peers import C_LOOP
from bench.setting import Setting

SETTLED = 6  # seconds after which nothing is done any more for those who came
IDLE = 30.0  # seconds, in which each connection is pinged and its session is checked
WARM = 20  # connections before the first look, so that what all share is there


def measure(setting: Setting) -> Iterator[Sample]:
    """Each server is started for this alone."""
    clients = 1000 if setting.quick else 5000
    for number in setting.rounds(1):
        for peer in setting.peers():
            if peer.name == C_LOOP.name:
                continue  # it keeps nothing but a number for each
            setting.say(f"memory: {clients} idle connections, {peer.name}")
            speech = peer.fan().speech
            with setting.serve(peer) as (child, port):
                with setting.load.connect(port, WARM, speech):
                    pass
                before = child.resident()
                with setting.load.connect(port, clients, speech):
                    time.sleep(setting.seconds(SETTLED))
                    spent, seconds = child.cpu(), setting.seconds(IDLE)
                    time.sleep(seconds)
                    figures = {
                        "KiB per connection": (child.resident() - before) / clients / 1024,
                        "us CPU per connection and second": (child.cpu() - spent)
                        / seconds
                        / clients
                        * 1e6,
                    }
            for metric, value in figures.items():
                case = f"{clients:,} idle connections"
                yield Sample("memory", case, metric, peer.name, number, value)
