"""Messages over Redis pub/sub: from any worker to all, on all hosts of this Redis."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any

from gospa import tasks
from gospa.backends.redis.client import ask, connect, prepare
from gospa.backends.redis.cluster.client import Cluster
from gospa.backends.redis.cluster.pubsub import Shards
from gospa.backends.redis.listener import Channel, Listener
from gospa.errors import StoreUnavailable
from gospa.pubsub import OnGap, OnMessage, PubSub, Subscription
from gospa.settings import Settings

__all__ = ["SHARED", "RedisPubSub", "open_pubsub", "prepare"]

SHARED = True


@asynccontextmanager
async def open_pubsub(settings: Settings) -> AsyncIterator[PubSub]:
    """A bus with one connection to hear on; in a cluster, one to each shard."""
    probe = f"{settings.key_prefix}probe:{os.urandom(8).hex()}"
    async with connect(settings) as client, AsyncExitStack() as stack:
        ears: Listener | Shards
        if isinstance(client, Cluster):
            ears = await stack.enter_async_context(aclosing(Shards(client, settings, probe)))
            run = ears.run
        else:
            ears = Listener(lambda: probe)
            run = partial(ears.run, client)
        await stack.enter_async_context(tasks.running(run, "pub/sub"))
        yield RedisPubSub(client, ears, settings)


class RedisPubSub:
    """Delivers messages to handlers; `ears` hear them."""

    def __init__(self, client: Any, ears: Listener | Shards, settings: Settings) -> None:
        self._client = client
        self._ears = ears
        self._settings = settings
        self._channels: dict[str, Channel] = {}

    @property
    def connected(self) -> bool:
        return self._ears.connected

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
                    await self._ears.enter(found)
                await found.confirmed.wait()
        except BaseException as error:
            await subscription.close()
            if isinstance(error, TimeoutError):
                raise StoreUnavailable("Redis did not confirm a subscription in time") from error
            raise
        return subscription

    async def _close(self, channel: Channel, subscription: Subscription) -> None:
        if subscription in channel.subscriptions:
            channel.subscriptions.remove(subscription)
            if not channel.subscriptions:
                del self._channels[channel.name]
                await self._ears.leave(channel)
