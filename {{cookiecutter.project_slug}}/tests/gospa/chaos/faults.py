"""The failures that are injected. Each returns when it is over; what follows has to mend itself."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from gospa.testing import until
from tests.gospa.chaos.alarms import Alarms
from tests.gospa.chaos.callers import Caller
from tests.gospa.chaos.chains import ALWAYS
from tests.gospa.chaos.client import RESTLESS, ChaosClient
from tests.gospa.chaos.proxy import SIDES, Damage, Proxy
from tests.gospa.chaos.python_client import PythonClient
from tests.gospa.chaos.store import SETTLE, ClusterStore, Store
from tests.gospa.chaos.truth import Truth

Fault = Callable[["World", random.Random], Coroutine[Any, Any, None]]
FAULTS: dict[str, Fault] = {}
AnyClient = ChaosClient | PythonClient
LAG = 1.0  # seconds by which a replica may be behind
MOVING = 0.2  # chance of a new connection after an answer, where clients move often


@dataclass(frozen=True, slots=True)
class World:
    """What there is to damage."""

    store: Store
    proxy: Proxy
    clients: Sequence[AnyClient]
    callers: Sequence[Caller | Alarms]
    rooms: Sequence[str]
    truth: Truth


def fault(inject: Fault) -> Fault:
    FAULTS[inject.__name__] = inject
    return inject


def faults_of(store: str) -> list[str]:
    """The names of the faults that a store of this form can have."""
    return [name for name in FAULTS if store == "cluster" or name != "slots_migrated"]


# Between the application and the store


@contextlib.asynccontextmanager
async def _damage(world: World, **damage: Any) -> AsyncIterator[None]:
    for name, value in damage.items():
        setattr(world.proxy.damage, name, value)
    try:
        yield
    finally:
        for name in damage:
            setattr(world.proxy.damage, name, getattr(Damage(), name))


@fault
async def messages_dropped(world: World, rng: random.Random) -> None:
    async with _damage(world, drop=rng.choice((0.05, 0.5, 1.0))):
        await asyncio.sleep(rng.uniform(0.5, 2))


@fault
async def messages_delayed(world: World, rng: random.Random) -> None:
    async with _damage(world, delay=rng.choice((0.1, 0.5))):
        await asyncio.sleep(rng.uniform(0.5, 2))


@fault
async def messages_doubled(world: World, rng: random.Random) -> None:
    async with _damage(world, duplicate=0.5):
        await asyncio.sleep(rng.uniform(0.5, 2))


@fault
async def subscribers_late(world: World, rng: random.Random) -> None:
    """On one side only, and commands are not late. Clients move between the sides meanwhile."""
    lags = {rng.randrange(SIDES): rng.choice((0.05, 0.3, 1.0))}
    for client in world.clients:
        client.restless = MOVING
    async with _damage(world, lags=lags, dribble=rng.random() < 0.3):
        await asyncio.sleep(rng.uniform(1, 3))
    for client in world.clients:
        client.restless = RESTLESS


@fault
async def store_slow(world: World, rng: random.Random) -> None:
    async with _damage(world, latency=0.3):
        await asyncio.sleep(rng.uniform(1, 3))


@fault
async def connections_cut(world: World, rng: random.Random) -> None:
    world.proxy.cut()


@fault
async def subscribers_killed(world: World, rng: random.Random) -> None:
    async with world.store.exclusive:
        for server in await world.store.servers():
            await server.client.client_kill_filter(_type="pubsub")


# The store


@contextlib.asynccontextmanager
async def _alone(world: World) -> AsyncIterator[None]:
    """No other fault meanwhile that needs the store; then wait until its servers work again."""
    async with world.store.exclusive:
        began = time.monotonic()
        yield
        await until(world.store.settled, SETTLE)
        if world.store.replicated:
            world.truth.lost(began - LAG, began=began, split=True)


@fault
async def store_hung(world: World, rng: random.Random) -> None:
    async with _alone(world):
        server = await world.store.victim(rng)
        server.signal(signal.SIGSTOP)
        await asyncio.sleep(rng.uniform(1, 5))
        server.signal(signal.SIGCONT)


@fault
async def store_killed(world: World, rng: random.Random) -> None:
    async with _alone(world):
        server = await world.store.victim(rng)
        server.kill()
        await asyncio.sleep(rng.uniform(0, 2))
        await server.start()


@fault
async def store_killed_and_empty(world: World, rng: random.Random) -> None:
    async with _alone(world):
        server = await world.store.victim(rng)
        began = time.monotonic()
        server.kill()
        world.truth.lost(ALWAYS, began=began)
        await asyncio.sleep(rng.uniform(0, 2))
        server.empty()
        await server.start()
        world.truth.lost(ALWAYS, began=began)


@fault
async def store_failed_over(world: World, rng: random.Random) -> None:
    """To a replica that had not got the last writes."""
    async with _alone(world):
        began = time.monotonic()
        await world.store.fail_over(behind=rng.uniform(0.2, 1.5))
        world.truth.lost(began)


@fault
async def slots_migrated(world: World, rng: random.Random) -> None:
    """Those of a room, to another shard of the cluster."""
    assert isinstance(world.store, ClusterStore)
    async with _alone(world):
        await world.store.migrate(rng.choice(world.rooms))


@fault
async def store_flushed(world: World, rng: random.Random) -> None:
    async with world.store.exclusive:
        began = time.monotonic()
        for server in await world.store.servers():
            await server.client.flushall()
        world.truth.lost(ALWAYS, began=began)


@fault
async def scripts_flushed(world: World, rng: random.Random) -> None:
    async with world.store.exclusive:
        for server in await world.store.servers():
            await server.client.script_flush()


@fault
async def store_full(world: World, rng: random.Random) -> None:
    async with world.store.exclusive:
        servers = await world.store.servers()
        for server in servers:
            await server.client.config_set("maxmemory", "1mb")
        await asyncio.sleep(rng.uniform(0.2, 1))
        for server in servers:
            await server.client.config_set("maxmemory", "0")


@fault
async def room_evicted(world: World, rng: random.Random) -> None:
    room = rng.choice(world.rooms)
    async with world.store.exclusive:
        began = time.monotonic()
        await world.store.client.delete(world.store.key(room))
        world.truth.lost(ALWAYS, room, began=began)


@fault
async def room_expired(world: World, rng: random.Random) -> None:
    room = rng.choice(world.rooms)
    async with world.store.exclusive:
        began = time.monotonic()
        await world.store.client.pexpire(world.store.key(room), 1)
        await asyncio.sleep(0.01)
        world.truth.lost(ALWAYS, room, began=began)


@fault
async def room_rolled_back(world: World, rng: random.Random) -> None:
    """To a copy of a moment ago."""
    room = rng.choice(world.rooms)
    async with world.store.exclusive:
        key, client = world.store.key(room), world.store.client
        began = time.monotonic()
        copy: Any = await client.dump(key)
        await asyncio.sleep(rng.uniform(0.1, 1))
        if copy is not None:
            await client.restore(key, 0, copy, replace=True)
            world.truth.lost(began, room)


# Workers and clients


def _workers(world: World) -> list[int]:
    return sorted({client.pid for client in world.clients if client.pid})


@fault
async def worker_killed(world: World, rng: random.Random) -> None:
    if workers := _workers(world):
        with contextlib.suppress(ProcessLookupError):  # already dead, its clients do not know yet
            os.kill(rng.choice(workers), signal.SIGKILL)


@fault
async def worker_hung(world: World, rng: random.Random) -> None:
    if workers := _workers(world):
        pid = rng.choice(workers)
        with contextlib.suppress(ProcessLookupError):  # killed meanwhile
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(rng.uniform(0.5, 2))
            os.kill(pid, signal.SIGCONT)


@fault
async def clients_vanished(world: World, rng: random.Random) -> None:
    for client in rng.sample(world.clients, len(world.clients) // 2):
        client.disconnect()
        await asyncio.sleep(0.01)


@fault
async def clients_slow(world: World, rng: random.Random) -> None:
    """They read nothing for a while."""
    slow = rng.sample(world.clients, len(world.clients) // 3)
    for client in slow:
        client.reading.clear()
    await asyncio.sleep(rng.uniform(1, 4))
    for client in slow:
        client.reading.set()
