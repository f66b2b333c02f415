"""Messages within this process: other workers neither send nor hear them."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext

from server.settings import Settings

SHARED = False
prepare = nullcontext[Settings]  # nothing has to run before the workers start


@asynccontextmanager
async def open_pubsub(settings: Settings) -> AsyncIterator["MemoryPubSub"]:
    """A bus of this process."""
    yield MemoryPubSub()


class _Subscription:
    def __init__(
        self, bus: "MemoryPubSub", channel: str, on_message: Callable[[bytes], None]
    ) -> None:
        self.on_message = on_message
        self._bus = bus
        self._channel = channel
        bus.channels[channel].append(self)

    async def close(self) -> None:
        peers = self._bus.channels.get(self._channel, [])
        if self in peers:
            peers.remove(self)
            if not peers:
                del self._bus.channels[self._channel]


class MemoryPubSub:
    """Calls the handlers of a channel before `publish` returns."""

    connected = True

    def __init__(self) -> None:
        self.channels: defaultdict[str, list[_Subscription]] = defaultdict(list)

    async def publish(self, channel: str, message: bytes) -> None:
        for subscription in list(self.channels.get(channel, ())):
            subscription.on_message(message)

    async def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> _Subscription:
        return _Subscription(self, channel, on_message)
