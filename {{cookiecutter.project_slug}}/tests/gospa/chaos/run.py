"""Run the application under injected failures, and check all that its clients are told and shown.

python -m tests.gospa.chaos.run --seconds 600 --seed 7
"""

import argparse
import asyncio
import contextlib
import itertools
import logging
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import gospa.client
import gospa.remote.backoff
from gospa.settings import Settings
from gospa.store.codec import unpack_fields
from gospa.testing import until
from tests.gospa.chaos.alarms import Alarms
from tests.gospa.chaos.callers import Caller
from tests.gospa.chaos.client import ChaosClient
from tests.gospa.chaos.epochs import check_epochs
from tests.gospa.chaos.faults import FAULTS, AnyClient, World
from tests.gospa.chaos.judge import judge
from tests.gospa.chaos.proxy import run_proxy
from tests.gospa.chaos.python_client import PythonClient
from tests.gospa.chaos.report import ROOMS, Options, Report
from tests.gospa.chaos.rooms import items_of
from tests.gospa.chaos.safeguards import SAFEGUARDS
from tests.gospa.chaos.store import STORES, run_store
from tests.gospa.chaos.truth import Kind, Truth
from tests.gospa.process.server import Server, launch

HEAD_CHECK = 3.0  # seconds; ten by default, which would make most of a run waiting
CALM = (0.3, 1.0)  # seconds of undisturbed work before a fault
PYTHON = 4  # every fourth client is one of gospa.client


async def run(options: Options, directory: Path) -> Report:
    """One run in `directory`, which receives the store's data and the servers' logs."""
    report = Report(options, Truth())
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(run_proxy(options.rng("proxy")))
        storing = run_store(options.store, directory, proxy, options.hosts)
        store = await stack.enter_async_context(storing)
        servers = [stack.enter_context(_host(url, options, directory)) for url in store.urls]
        for server in servers:
            await server.ready()
        addresses = [server.address for server in servers]
        clients, callers = _users(options, addresses, report.truth)
        callers.append(Alarms(addresses, report.truth, options.rng("alarms")))
        stack.enter_context(_impatient())
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(each.run()) for each in (*clients, *callers)]
            world = World(store, proxy, clients, callers, ROOMS, report.truth)
            try:
                await _disturb(world, servers, report)
            finally:
                for task in running:
                    task.cancel()
        report.damaged = proxy.damaged
    return report


def _host(url: str, options: Options, directory: Path) -> contextlib.AbstractContextManager[Server]:
    return launch(
        Settings(redis_url=url),
        directory,
        f"--workers={options.workers}",
        app="tests.gospa.chaos.app:app",
        env={
            "GOSPA_HEAD_CHECK_INTERVAL": str(HEAD_CHECK),
            "CHAOS_DISABLE": options.disable,
        },
    )


def _users(
    options: Options, addresses: Sequence[str], truth: Truth
) -> tuple[list[AnyClient], list[Caller | Alarms]]:
    """The clients of both kinds, and the callers."""
    clients: list[AnyClient] = []
    for number in range(options.clients):
        kind = PythonClient if number % PYTHON == PYTHON - 1 else ChaosClient
        rng = options.rng(f"client {number}")
        clients.append(kind(addresses, ROOMS, truth, rng, options.pace))
    rngs = [options.rng(f"caller {number}") for number in range(options.callers)]
    return clients, [Caller(addresses, ROOMS, truth, rng, options.pace) for rng in rngs]


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Have clients of `gospa.client` try again as soon as the others do."""
    with (
        patch.object(gospa.client, "RECONNECT", (0.05, 0.5)),
        patch.object(gospa.remote.backoff, "UNAVAILABLE", (0.1, 0.5)),
    ):
        yield


async def _disturb(world: World, servers: Sequence[Server], report: Report) -> None:
    began = time.monotonic()
    await _agree(world, report.options.bound)
    report.memory.append(_memory(world))
    for number in itertools.count():
        over = number > 0 and time.monotonic() - began > report.options.seconds
        if over or world.truth.violations:
            break
        await _round(world, servers, number, report)
        report.memory.append(_memory(world))
        for server in [*servers] * 3 * report.options.workers:  # which worker answers is chance
            said = await server.report()
            counters = said["counters"].items()
            report.counters[said["pid"]] = {k: n for k, n in counters if isinstance(n, int)}
        report.seconds = time.monotonic() - began


async def _round(world: World, servers: Sequence[Server], number: int, report: Report) -> None:
    """Work undisturbed for a moment, then through some faults, then come to rest."""
    rng = report.options.rng(f"round {number}")
    names = report.last = report.options.choose(rng)
    users = (*world.clients, *world.callers)
    for user in users:
        user.writing = True
    await asyncio.sleep(rng.uniform(*CALM))
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(FAULTS[name](world, random.Random(rng.random())))
    for user in users:
        user.writing = False
    over = time.monotonic()
    await _agree(world, report.options.bound)
    stored = {room: await world.store.snapshot(room) for room in world.rooms}
    await check_epochs(world.truth, stored, [*servers] * 2 * report.options.workers)
    finals = {room: items_of(unpack_fields(each.fields), "lines") for room, each in stored.items()}
    judge(world.truth, finals, {room: each.tag for room, each in stored.items()})
    for user in users:
        user.rest()
    for name in names:
        report.injected[name] += 1
        report.recoveries[name].append(time.monotonic() - over)


async def _agree(world: World, bound: float) -> None:
    """Wait until everything is answered, and all clients show what the store holds."""
    users = (*world.clients, *world.callers)

    async def agreed() -> bool:
        if not all(user.settled for user in users):
            return False
        heads = {room: await world.store.head(room) for room in world.rooms}
        return all(client.heads == heads for client in world.clients)

    try:
        await until(agreed, bound)
    except TimeoutError:
        waiting = sum(not user.settled for user in users)
        text = f"no agreement within {bound} s: {waiting} clients wait for answers"
        world.truth.violate(Kind.APART, text)


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
    logging.getLogger("gospa.client").setLevel(logging.ERROR)  # it warns of each reconnect
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
        "--callers", type=int, default=3, help="callers of the application (default: 3)"
    )
    parser.add_argument("--hosts", type=int, default=1, help="groups of workers (default: 1)")
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
    parser.add_argument("--disable", choices=SAFEGUARDS, default="", help="a safeguard")
    return Options(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
