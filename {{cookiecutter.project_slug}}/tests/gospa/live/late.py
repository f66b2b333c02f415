"""A room in several workers that receive each other's commits when a test delivers them."""

import itertools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from gospa.live.local_room import LocalRoom, RoomContext
from gospa.live.mutations import QueueOptions
from gospa.pubsub import OnGap, OnMessage, PubSub, Subscription
from gospa.store.contract import StateStore
from tests.gospa.rooms import Sheet

NAMES = (f"sheet/{number}" for number in itertools.count())


class Late:
    """A bus whose messages wait until they are delivered, in order."""

    connected = True
    fault = None

    def __init__(self, pubsub: PubSub) -> None:
        self.publish = pubsub.publish
        self._pubsub = pubsub
        self._waiting: deque[bytes] = deque()

    async def subscribe(self, channel: str, on_message: OnMessage, on_gap: OnGap) -> Subscription:
        self._receive = on_message
        return await self._pubsub.subscribe(channel, self._waiting.append, on_gap)

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            self._receive(self._waiting.popleft())


@asynccontextmanager
async def opened(
    name: str, store: StateStore, pubsub: PubSub, workers: int
) -> AsyncIterator[list[tuple[LocalRoom, Late]]]:
    """The room in each worker."""
    opened = []
    async with AsyncExitStack() as stack:
        for number in range(workers):
            late = Late(pubsub)
            context = RoomContext(str(number), store, late, lambda: None, QueueOptions(), 1.0)
            room = LocalRoom(name, Sheet(name, {"name": "a"}), context)
            stack.push_async_callback(room.close)
            await room.open()
            opened.append((room, late))
        yield opened
