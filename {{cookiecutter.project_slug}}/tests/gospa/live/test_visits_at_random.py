"""Whatever clients and workers do: a visit begins once and ends once."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as some

from gospa.app import Backends
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store.contract import StateStore
from gospa.testing import until
from tests.gospa.live.visited import NAME, Seat, Worker, seat

WORKERS, CLIENTS = 2, 2

worker_numbers = some.integers(0, WORKERS - 1)
client_numbers = some.integers(0, CLIENTS - 1)
Step = tuple[Any, ...]
STEPS = some.one_of(
    some.tuples(some.just("come"), client_numbers, worker_numbers),
    some.tuples(some.just("leave"), client_numbers),
    some.tuples(some.just("lose"), client_numbers),
    some.tuples(some.just("expire"), worker_numbers),
    some.tuples(some.just("review"), worker_numbers),
    some.tuples(some.just("crash"), worker_numbers),
    some.tuples(some.just("settle")),
)


class World:
    """Workers and clients, each of which has one connection at most."""

    def __init__(self, store: StateStore, pubsub: PubSub, settings: Settings) -> None:
        self.made = (store, pubsub, settings)
        self.workers: list[Worker] = []
        self.dead: list[Worker] = []
        self.seats: dict[int, tuple[Worker, Seat]] = {}

    async def open(self) -> None:
        for _ in range(WORKERS):
            self.workers.append(await Worker(*self.made, watches=False).open())

    async def do(self, step: Step) -> None:
        match step:
            case ("come", client, worker):
                if client in self.seats:
                    self._go(client, orderly=False)
                self.seats[client] = (self.workers[worker], seat(f"{client}"))
                await self.workers[worker].enter(self.seats[client][1])
            case ("leave" | "lose" as how_, client) if client in self.seats:
                self._go(client, orderly=how_ == "leave")
            case ("expire", worker):
                self._expire(self.workers[worker])
            case ("review", worker):
                await self._review(self.workers[worker])
            case ("crash", worker):
                await self._crash(worker)
            case ("settle",):
                await self._settle()

    async def end(self) -> None:
        """Have all clients go, and all visits end."""
        for client in list(self.seats):
            self._go(client, orderly=False)

        async def over() -> bool:
            await self._settle()
            for worker in self.workers:
                self._expire(worker)
                await self._review(worker)
            await self._settle()
            stored = await self.made[0].load(NAME)
            return not stored or not any(key[0] in "$%" for key in stored.fields)

        await until(over)

    async def close(self) -> None:
        for worker in (*self.workers, *self.dead):
            await worker.kill()
            await worker.hub.close()

    def _go(self, client: int, *, orderly: bool) -> None:
        worker, left = self.seats.pop(client)
        worker.leave(left, orderly=orderly)

    def _expire(self, worker: Worker) -> None:
        """Let the time pass in which those who lost their connection may be back."""
        assert worker.local.visits is not None
        away = worker.local.visits._away  # noqa: SLF001 - the loop's clock cannot be moved
        away.update(dict.fromkeys(away, 0.0))
        worker.local.visits.tick()

    async def _review(self, worker: Worker) -> None:
        await worker.local.review_visits({each.hub.worker for each in self.dead})

    async def _crash(self, number: int) -> None:
        """A worker dies; its clients lose their connections."""
        dying = self.workers[number]
        await dying.kill()
        self.dead.append(dying)
        self.seats = {k: found for k, found in self.seats.items() if found[0] is not dying}
        self.workers[number] = await Worker(*self.made, watches=False).open()

    async def _settle(self) -> None:
        for worker in (*self.workers, *self.dead):  # what a dead one had sent may still arrive
            await worker.local.mutations.idle.wait()


async def play(settings: Settings, backends: Backends, steps: Sequence[Step]) -> None:
    async with AsyncExitStack() as stack:
        pubsub = await stack.enter_async_context(backends.pubsub.open(settings))
        store = await stack.enter_async_context(backends.state.open(settings, pubsub))
        await store.delete(NAME)
        world = World(store, pubsub, settings)
        await world.open()
        stack.push_async_callback(world.close)
        for step in steps:
            await world.do(step)
        await world.end()
        check(await world.workers[0].log())


def check(log: list[str]) -> None:
    """Each client's hooks ran by turns, and the last visit is over."""
    for client in range(CLIENTS):
        own = [line.split()[0] for line in log if line.split()[1] == f"{client}"]
        assert own == ["joined", "left"] * (len(own) // 2), log


def test_a_visit_that_a_dying_worker_begins_while_its_others_are_ended_ends_as_well(
    settings: Settings, backends: Backends
) -> None:
    """Two workers review it: one ends its visit, it begins another, then the second one comes."""
    came_and_died: list[Step] = [("come", 0, 1), ("come", 1, 1), ("come", 0, 1), ("crash", 1)]
    asyncio.run(play(settings, backends, [("crash", 0), *came_and_died]))


@pytest.mark.slow
@how(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
@given(steps=some.lists(STEPS, max_size=25))
def test_a_visit_begins_once_and_ends_once(
    settings: Settings, backends: Backends, steps: Sequence[Step]
) -> None:
    asyncio.run(play(settings, backends, steps))
