"""Messages within this process; other workers do not receive them."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from gospa.backends import Backend
from gospa.pubsub import OnGap, OnMessage, Subscription
from gospa.settings import Settings


@asynccontextmanager
async def open_pubsub(settings: Settings) -> AsyncIterator["MemoryPubSub"]:
    """A bus of this process."""
    yield MemoryPubSub()


class MemoryPubSub:
    """Calls the handlers of a channel before `publish` returns."""

    connected = True
    fault = None

    def __init__(self) -> None:
        self.channels: defaultdict[str, list[Subscription]] = defaultdict(list)

    async def publish(self, channel: str, message: bytes) -> None:
        for subscription in list(self.channels.get(channel, ())):
            subscription.on_message(message)

    async def subscribe(self, channel: str, on_message: OnMessage, on_gap: OnGap) -> Subscription:
        subscription = Subscription(on_message, on_gap, partial(self._close, channel))
        self.channels[channel].append(subscription)
        return subscription

    async def _close(self, channel: str, subscription: Subscription) -> None:
        peers = self.channels.get(channel, [])
        if subscription in peers:
            peers.remove(subscription)
            if not peers:
                del self.channels[channel]


PUBSUB = Backend(open_pubsub, shared=False)
