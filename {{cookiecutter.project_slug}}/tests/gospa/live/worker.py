"""A room in workers of their own, on a bus and a store that tests may disturb."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from gospa import tasks
from gospa.errors import StoreUnavailable
from gospa.live.batch import Mutation
from gospa.live.local_room import LocalRoom, RoomContext
from gospa.live.mutations import QueueOptions
from gospa.live.replica import Replica
from gospa.live.sequence import MutationSequence
from gospa.member import SERVER, Access, Member
from gospa.pubsub import OnGap, OnMessage, PubSub, Subscription
from gospa.room import Room
from gospa.store.contract import Snapshot, StateStore
from gospa.testing import until
from tests.gospa.live.screen import Screen
from tests.gospa.rooms import Sheet

KEY = "sheet/a"


class Unreliable:
    """A bus that does to messages what `arrive` says: by default delivers them."""

    connected = True
    fault = None

    def __init__(self, pubsub: PubSub) -> None:
        self.publish = pubsub.publish
        self._pubsub = pubsub
        self.arrive: Callable[[bytes, OnMessage], None] = deliver

    async def subscribe(self, channel: str, on_message: OnMessage, on_gap: OnGap) -> Subscription:
        self.deliver = on_message
        return await self._pubsub.subscribe(channel, lambda m: self.arrive(m, on_message), on_gap)


def deliver(message: bytes, to: OnMessage) -> None:
    """What becomes of a message by default."""
    to(message)


def lose(message: bytes, to: OnMessage) -> None:
    """What becomes of a message that is lost."""


class Watched:
    """A store that counts loads and can be away."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self.loads = 0
        self.questions = 0
        self.away = False
        self.open = asyncio.Event()  # for answers about tags
        self.open.set()
        self.meanwhile: list[Callable[[], object]] = []  # what happens while the room is loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def latest_tags(self, rooms: Sequence[str]) -> dict[str, bytes]:
        self.questions += 1
        tags = await self._store.latest_tags(rooms)
        await self.open.wait()
        return tags

    async def load(self, room: str, *, renew: bool = True) -> Snapshot | None:
        self.loads += 1
        if self.away:
            raise StoreUnavailable("away")
        snapshot = await self._store.load(room, renew=renew)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return snapshot


class Seat(Screen):
    """A member's place in the room, who looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.member, self.access = Member(), Access.FULL
        self.kicks = self.reauthorized = self.restarts = 0

    def kick(self) -> None:
        self.kicks += 1

    def reauthorize(self) -> None:
        self.reauthorized += 1

    def restart(self) -> None:
        self.restarts += 1


class Worker:
    """A room in a worker of its own, with a member who looks at it."""

    def __init__(
        self, store: StateStore, pubsub: PubSub, kind: Callable[..., Room[Any]] = Sheet
    ) -> None:
        self.bus = Unreliable(pubsub)
        self.store = Watched(store)
        watched: Any = self.store
        options = (self._compare_soon, QueueOptions(), 0.01)
        context = RoomContext("worker", watched, self.bus, *options)
        self.room = LocalRoom(KEY, kind(KEY, {"name": "a"}), context)
        self.screen = Seat()
        self.answers: list[Any] = []
        self._comparing = list[asyncio.Task[None]]()

    async def open(self) -> None:
        await self.room.open()
        self.join(self.screen)

    def join(self, seat: Seat, tag: bytes | None = None) -> None:
        self.room.join(seat, seat.writer, tag)

    async def close(self) -> None:
        await tasks.stop(*self._comparing)
        await self.room.close()

    async def compare(self) -> None:
        """What the hub does with all its rooms, at intervals and after a gap."""
        since = self.replica.tag
        heads = await self.store.latest_tags([KEY])
        await self.room.follower.compare(heads[KEY], since)

    def _compare_soon(self) -> None:
        self._comparing.append(tasks.start(self.compare(), "comparison"))

    async def call(self, name: str, **args: Any) -> Any:
        """Have somebody call an action; returns the outcome."""
        before = len(self.answers)
        run = self.room.room.actions[name].bind(self.room.room, SERVER, args)
        sequence = MutationSequence(os.urandom(16).hex(), 60)
        self.room.mutations.submit(Mutation(sequence, 1, run, self.answers.append))
        await until(lambda: len(self.answers) > before)
        return self.answers[-1]

    async def add(self, amount: int = 1) -> Any:
        return await self.call("add", amount=amount)

    @property
    def replica(self) -> Replica:
        return self.room.follower.replica

    @property
    def count(self) -> int:
        return int(self.screen.state["count"])


@asynccontextmanager
async def opened(*workers: Worker) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for worker in workers:
            stack.push_async_callback(worker.close)
            await worker.open()
        yield
