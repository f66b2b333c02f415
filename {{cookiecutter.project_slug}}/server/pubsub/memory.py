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
    def __init__(self, peers: "list[_Subscription]", on_message: Callable[[bytes], None]) -> None:
        self.on_message = on_message
        self._peers = peers
        peers.append(self)

    async def close(self) -> None:
        if self in self._peers:
            self._peers.remove(self)


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
        return _Subscription(self._channels[channel], on_message)
