"""Run the application under injected failures, and check all that its clients are told and shown.

python -m tests.gospa.chaos.run --seconds 600 --seed 7
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gospa.settings import Settings
from gospa.store.codec import unpack_fields
from gospa.testing import until
from tests.gospa.chaos.client import ChaosClient
from tests.gospa.chaos.faults import FAULTS, World, faults_of
from tests.gospa.chaos.proxy import run_proxy
from tests.gospa.chaos.rooms import lines
from tests.gospa.chaos.store import STORES, run_store
from tests.gospa.chaos.truth import Truth
from tests.gospa.process.server import Server, launch

ROOMS = ["lines/one", "lines/two", "ledger/one", "ledger/two"]
HEAD_CHECK = 3.0  # seconds; ten by default, which would make most of a run waiting
TOGETHER = 3  # faults at most that are injected at the same time
CALM = (0.3, 1.0)  # seconds of undisturbed work before a fault


@dataclass
class Options:
    """What to run; the same seed injects the same faults in the same order."""

    seconds: float = 20.0
    seed: int = 0
    workers: int = 2
    clients: int = 12
    pace: float = 0.1
    bound: float = 30.0
    faults: Sequence[str] = ()
    disable: str = ""
    store: str = "single"

    def rng(self, purpose: str) -> random.Random:
        """Chances of their own for each purpose, so that none depends on another's timing."""
        return random.Random(f"{self.seed} {purpose}")

    def choose(self, rng: random.Random) -> list[str]:
        """The faults of the next round."""
        faults = list(self.faults) or faults_of(self.store)
        return rng.sample(faults, min(rng.randint(1, TOGETHER), len(faults)))


@dataclass
class Report:
    """What a run found."""

    options: Options
    truth: Truth
    injected: Counter[str] = field(default_factory=Counter)
    recoveries: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    memory: list[int] = field(default_factory=list)
    counters: dict[int, dict[str, int]] = field(default_factory=dict)  # of each worker's process
    damaged: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        options, counts = self.options, self.truth.counts
        scale = f"{options.workers} workers, {options.clients} clients in {len(ROOMS)} rooms"
        said = [
            f"{self.seconds:.0f} s, seed {options.seed}, {options.store} store: {scale}",
            "",
            "| fault | times | mean until all agree again, s | longest, s |",
            "|---|---:|---:|---:|",
            *(
                f"| {name} | {times} | {statistics.mean(self.recoveries[name]):.2f} "
                f"| {max(self.recoveries[name]):.2f} |"
                for name, times in sorted(self.injected.items())
            ),
            "",
            "| what | how many |",
            "|---|---:|",
            *(f"| {what} | {count} |" for what, count in sorted(counts.items())),
            f"| different states shown | {self.truth.states} |",
            f"| messages dropped, delayed or doubled | {self.damaged} |",
            *(f"| workers' counter: {name} | {count} |" for name, count in self._sums().items()),
            f"| largest memory of a worker, MB: at first | {self.memory[0]} |",
            f"| largest memory of a worker, MB: at most | {max(self.memory)} |",
            f"| **wrong states, and changes lost or doubled** | {len(self.truth.violations)} |",
        ]
        return "\n".join([*said, *self.truth.violations[:20]])

    def _sums(self) -> Counter[str]:
        sums = Counter[str]()
        for counters in self.counters.values():
            sums.update(counters)
        return sums


async def run(options: Options, directory: Path) -> Report:
    """One run in `directory`, which receives the store's data and the server's log."""
    truth = Truth()
    report = Report(options, truth)
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(run_proxy(options.rng("proxy")))
        store = await stack.enter_async_context(run_store(options.store, directory, proxy))
        server = stack.enter_context(
            launch(
                Settings(redis_url=store.url),
                directory,
                f"--workers={options.workers}",
                app="tests.gospa.chaos.app:app",
                env={
                    "GOSPA_HEAD_CHECK_INTERVAL": str(HEAD_CHECK),
                    "CHAOS_DISABLE": options.disable,
                },
            )
        )
        await server.ready()
        clients = [
            ChaosClient(server.address, ROOMS, truth, options.rng(f"client {i}"), options.pace)
            for i in range(options.clients)
        ]
        world = World(store, proxy, clients, ROOMS, truth)
        tasks = [asyncio.create_task(client.run()) for client in clients]
        try:
            await _disturb(world, server, report)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        report.damaged = proxy.damaged
    return report


async def _disturb(world: World, server: Server, report: Report) -> None:
    began = time.monotonic()
    await _agree(world, report.options.bound)
    report.memory.append(_memory(world))
    for number in itertools.count():
        over = number > 0 and time.monotonic() - began > report.options.seconds
        if over or world.truth.violations:
            break
        await _round(world, number, report)
        report.memory.append(_memory(world))
        for _ in range(3 * report.options.workers):  # which worker answers is chance
            said = await server.report()
            counters = said["counters"].items()
            report.counters[said["pid"]] = {k: n for k, n in counters if isinstance(n, int)}
        report.seconds = time.monotonic() - began


async def _round(world: World, number: int, report: Report) -> None:
    """Work undisturbed for a moment, then through some faults, then come to rest."""
    rng = report.options.rng(f"round {number}")
    names = report.options.choose(rng)
    for client in world.clients:
        client.writing = True
    await asyncio.sleep(rng.uniform(*CALM))
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(FAULTS[name](world, random.Random(rng.random())))
    for client in world.clients:
        client.writing = False
    over = time.monotonic()
    await _agree(world, report.options.bound)
    stored = {room: await world.store.fields(room) for room in world.rooms}
    world.truth.judge({room: lines(unpack_fields(fields)) for room, fields in stored.items()})
    for name in names:
        report.injected[name] += 1
        report.recoveries[name].append(time.monotonic() - over)


async def _agree(world: World, bound: float) -> None:
    """Wait until everything is answered, and all clients show what the store holds."""

    async def agreed() -> bool:
        if not all(client.settled for client in world.clients):
            return False
        heads = {room: await world.store.head(room) for room in world.rooms}
        return all(
            (view.version, view.tag) == heads[room]
            for client in world.clients
            for room, view in client.views.items()
        )

    try:
        await until(agreed, bound)
    except TimeoutError:
        behind = [client for client in world.clients if not client.settled]
        world.truth.violate(
            f"no agreement within {bound} s: {len(behind)} clients wait for answers"
        )


def _memory(world: World) -> int:
    """The memory of the largest worker, in MB."""
    sizes = [0]
    for pid in {client.pid for client in world.clients if client.pid}:
        with contextlib.suppress(OSError):  # it has just been killed
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            sizes.append(pages * resource.getpagesize() // 2**20)
    return max(sizes)


def main() -> int:
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        report = asyncio.run(run(options, Path(directory)))
        print(report)  # noqa: T201
        if report.truth.violations:
            print(*(log.read_text() for log in Path(directory).glob("*.log")))  # noqa: T201
    return 1 if report.truth.violations else 0


def _parse() -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.gospa.chaos.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="which faults when (default: 0)")
    parser.add_argument("--workers", type=int, default=3, help="processes (default: 3)")
    parser.add_argument("--clients", type=int, default=24, help="clients (default: 24)")
    parser.add_argument(
        "--pace", type=float, default=0.1, help="seconds between a client's changes"
    )
    parser.add_argument(
        "--bound", type=float, default=30.0, help="seconds in which all have to agree again"
    )
    parser.add_argument(
        "--faults", nargs="+", choices=sorted(FAULTS), default=[], help="only these"
    )
    parser.add_argument(
        "--store", choices=STORES, default="single", help="its form (default: single)"
    )
    parser.add_argument(
        "--disable", choices=("parents", "numbers", "heads"), default="", help="a safeguard"
    )
    return Options(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
