"""Messages within this process: other workers neither send nor hear them."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

from server.settings import Settings

SHARED = False


def prepare(settings: Settings) -> AbstractContextManager[Settings]:
    """Nothing has to run before the workers start."""
    return nullcontext(settings)


@asynccontextmanager
async def open_pubsub(settings: Settings) -> AsyncIterator["MemoryPubSub"]:
    """A bus of this process."""
    yield MemoryPubSub()


class _Subscription:
    def __init__(
        self, pubsub: "MemoryPubSub", channel: str, on_message: Callable[[bytes], None]
    ) -> None:
        self.on_message = on_message
        self._pubsub = pubsub
        self._channel = channel

    async def close(self) -> None:
        self._pubsub.remove(self._channel, self)


class MemoryPubSub:
    """Calls the handlers of a channel before `publish` returns."""

    connected = True

    def __init__(self) -> None:
        self._channels: defaultdict[str, list[_Subscription]] = defaultdict(list)

    async def publish(self, channel: str, message: bytes) -> None:
        for subscription in list(self._channels.get(channel, ())):
            subscription.on_message(message)

    async def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> _Subscription:
        subscription = _Subscription(self, channel, on_message)
        self._channels[channel].append(subscription)
        return subscription

    def remove(self, channel: str, subscription: _Subscription) -> None:
        """Stop calling one subscription, and forget a channel that nobody hears."""
        peers = self._channels.get(channel, [])
        if subscription in peers:
            peers.remove(subscription)
            if not peers:
                del self._channels[channel]
