"""Messages over Redis pub/sub: from any worker to all workers of this Redis, on all hosts."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from gospa.backends import Backend
from gospa.backends.redis.client import ask, connect
from gospa.backends.redis.listener import Channel, Listener, listen
from gospa.backends.redis.startup import prepare
from gospa.errors import StoreDenied, StoreError, StoreUnavailable
from gospa.pubsub import OnGap, OnMessage, PubSub, Subscription
from gospa.settings import Settings

if TYPE_CHECKING:
    from gospa.backends.redis.cluster.pubsub import ShardListeners


@asynccontextmanager
async def open_pubsub(settings: Settings) -> AsyncIterator[PubSub]:
    """A bus with one subscriber connection, or one to each shard of a cluster."""
    probe = f"{settings.key_prefix}probe:{os.urandom(8).hex()}"
    async with connect(settings) as client:
        if client.SHARDED:
            from gospa.backends.redis.cluster import pubsub as cluster  # noqa: PLC0415 - if needed

            opened: Any = cluster.listen(client, settings, probe)
        else:
            opened = listen(client, probe)
        async with opened as listener:
            yield RedisPubSub(client, listener, settings)


class RedisPubSub:
    """Passes messages from `listener` to the handlers of their channel."""

    def __init__(
        self, client: Any, listener: "Listener | ShardListeners", settings: Settings
    ) -> None:
        self._client = client
        self._listener = listener
        self._settings = settings
        self._channels: dict[str, Channel] = {}

    @property
    def connected(self) -> bool:
        return self._listener.connected

    @property
    def fault(self) -> StoreError | None:
        return None if self.connected else self._listener.fault

    async def publish(self, channel: str, message: bytes) -> None:
        name = self._settings.key_prefix + channel
        await ask(self._client, (self._client.PUBLISH, name, message))

    async def subscribe(self, channel: str, on_message: OnMessage, on_gap: OnGap) -> Subscription:
        name = self._settings.key_prefix + channel
        found = self._channels.setdefault(name, Channel(name))
        subscription = Subscription(on_message, on_gap, partial(self._close, found))
        found.subscriptions.append(subscription)
        try:
            async with asyncio.timeout(self._settings.store_timeout):
                if len(found.subscriptions) == 1:
                    await self._listener.enter(found)
                await found.confirmed.wait()
        except BaseException as error:
            await subscription.close()
            if isinstance(error, TimeoutError):
                if isinstance(self._listener.fault, StoreDenied):
                    raise self._listener.fault from error
                raise StoreUnavailable("Redis did not confirm a subscription in time") from error
            raise
        return subscription

    async def _close(self, channel: Channel, subscription: Subscription) -> None:
        if subscription in channel.subscriptions:
            channel.subscriptions.remove(subscription)
            if not channel.subscriptions:
                del self._channels[channel.name]
                await self._listener.leave(channel)


PUBSUB = Backend(open_pubsub, shared=True, prepare=prepare)
