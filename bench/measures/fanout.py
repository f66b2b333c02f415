"""Fan-out through Redis: one message, many sockets, one worker."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.figures import Sample
from bench.load import Load
from bench.peers import Peer
from bench.processes import BenchError, Child
from bench.setting import Setting

CLIENTS, SIZE = 500, 200
WINDOWS = (8, 64)  # messages under way at a time
RATES = (10, 100, 1000)  # messages per second
SECONDS = {10: 4.0}  # of a run at the lowest rate, for enough messages


@dataclass(frozen=True, slots=True)
class Running:
    """A server that stays for all rounds."""

    peer: Peer
    child: Child
    port: int


def measure(setting: Setting) -> Iterator[Sample]:
    """Deliveries per second at saturation; delays at fixed rates."""
    running = [
        Running(peer, *peer.start(setting.stage, setting.place, setting.here))
        for peer in setting.peers()
    ]
    try:
        for number in setting.rounds(3):
            for clients in (CLIENTS,) if setting.quick else (CLIENTS, 100, 2000):
                if clients != CLIENTS and number == setting.rounds(3)[-1]:
                    continue  # these are not what the goals are about, and take long
                for server in running:
                    if clients == CLIENTS or not server.peer.slow:
                        name = server.peer.name
                        setting.say(f"fan-out, round {number + 1}: {clients} clients, {name}")
                        try:
                            for case, metric, value in _one(setting, server, clients):
                                yield Sample("fan-out", case, metric, name, number, value)
                        except BenchError as error:
                            setting.leave_out(f"a round of fan-out with {clients}, {name}", error)
    finally:
        for server in running:
            setting.stage.stop(server.child)


def _one(setting: Setting, server: Running, clients: int) -> Iterator[tuple[str, str, float]]:
    """Yields case, metric and value."""
    fan, redis = server.peer.fan(), setting.place.redis
    with setting.load.connect(server.port, clients, fan.speech, redis=redis) as load:
        slow = server.peer.slow
        for size in (SIZE, 2000) if clients == CLIENTS and not slow else (SIZE,):
            what = f"{clients:,} clients, {_size(size)}"
            command = fan.publish(size)
            reached = 0.0
            for window in WINDOWS[:1] if slow else WINDOWS:
                found = _saturate(setting, server.child, load, command, window)
                reached = max(reached, found["deliveries/s"])
                for metric, value in found.items():
                    yield f"{what}, {window} under way", metric, value
            for rate in RATES if size == SIZE else ():
                if rate * clients < reached:  # else it only shows how a queue grows
                    for metric, value in _steady(setting, load, command, rate).items():
                        yield f"{what}, {rate:,}/s", metric, value


def _saturate(
    setting: Setting, child: Child, load: Load, command: bytes, window: int
) -> dict[str, float]:
    before = child.cpu()
    run = load.run(setting.seconds(0.8), window=window, command=command)
    spent = child.cpu() - before  # for all messages, also those that came after the time
    run.check(f"{window} under way")
    return {
        "deliveries/s": run.deliveries / run.seconds,
        "deliveries per CPU-second": run.messages * load.clients / spent,
        "load client's share of its core": run.cpu_s / run.seconds,
    }


def _steady(setting: Setting, load: Load, command: bytes, rate: int) -> dict[str, float]:
    run = load.run(setting.seconds(SECONDS.get(rate, 0.8)), rate=rate, command=command)
    run.check(f"{rate}/s")
    if run.overloaded:
        return {}
    return {"p50 ms": run.p50_us / 1000, "p99 ms": run.p99_us / 1000}


def _size(size: int) -> str:
    return f"{size} B" if size < 1000 else f"{size // 1000} kB"  # noqa: PLR2004 - a kilobyte
