"""Messages in a Redis cluster: each channel is heard at the shard that has its room's keys.

redis-py follows slots that move, but asks its connections in turn for messages, and tells nobody
of a gap. So each shard has a subscriber of ours, and channels are moved to where they belong.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from redis.asyncio.cluster import ClusterNode
from sanic.log import logger

from server import background
from server.cluster import Cluster
from server.errors import StoreError, StoreUnavailable
from server.pubsub import PubSub, Subscription
from server.redis import store_errors
from server.settings import Settings

LOOK = 5.0  # seconds between looks at which shard has which slots
AGAIN = 0.25  # seconds after a look that failed, and at least between two
NAMES = 100_000  # tried until one is in a slot of a shard: it may have only a few


@dataclass(frozen=True, slots=True)
class Shard:
    """What the subscriber of one shard is given.

    `own_name` is a channel that is heard there; raises StoreUnavailable if it has no slots. `lost`
    takes a channel that is not heard there any more, None if that may be so of all.
    """

    node: ClusterNode
    own_name: Callable[[], str]
    lost: Callable[[str | None], None]


OpenShard = Callable[[Settings, Shard], AbstractAsyncContextManager[PubSub]]


@asynccontextmanager
async def open_cluster(
    client: Cluster, settings: Settings, open_shard: OpenShard
) -> AsyncIterator["ClusterPubSub"]:
    """A bus over all shards; `client` is one of the whole cluster."""
    pubsub = ClusterPubSub(client, settings, open_shard)
    following = background.keep_running(pubsub.run, "slots of the cluster")
    try:
        yield pubsub
    finally:
        await background.stop(following)
        await pubsub.close()


class _Placed:
    """One handler on one channel, at whichever shard has it now."""

    def __init__(
        self,
        cluster: "ClusterPubSub",
        channel: str,
        on_message: Callable[[bytes], None],
        on_gap: Callable[[], None],
    ) -> None:
        self.channel = channel
        self._cluster = cluster
        self._on_message = on_message
        self._on_gap = on_gap
        self._moving = asyncio.Lock()
        self._subscription: Subscription | None = None
        self.shard: PubSub | None = None

    async def move(self, shard: PubSub) -> None:
        async with self._moving:
            if self.shard is shard or self not in self._cluster.placed:
                return
            moved = self._subscription is not None
            await self._leave()
            self.shard = shard  # first: it may be lost again before we hear that it was gained
            try:
                subscribed = shard.subscribe(self.channel, self._on_message, self._on_gap)
                self._subscription = await subscribed
            except BaseException:
                self.shard = None
                raise
        if moved:
            self._on_gap()

    async def close(self) -> None:
        self._cluster.placed.discard(self)
        async with self._moving:
            await self._leave()

    async def _leave(self) -> None:
        if self._subscription:
            await self._subscription.close()


class ClusterPubSub:
    """Delivers messages to handlers, following the slots of the cluster for as long as it runs."""

    def __init__(self, client: Cluster, settings: Settings, open_shard: OpenShard) -> None:
        self.placed: set[_Placed] = set()
        self._client = client
        self._settings = settings
        self._open_shard = open_shard
        self._shards: dict[ClusterNode, tuple[PubSub, AsyncExitStack]] = {}
        self._known = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """With any shard: all workers are deaf to one that is away, and none would serve better."""
        return any(shard.connected for shard, _ in self._shards.values())

    async def publish(self, channel: str, message: bytes) -> None:
        with store_errors():
            await self._client.spublish(self._settings.key_prefix + channel, message)

    async def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> _Placed:
        placed = _Placed(self, self._settings.key_prefix + channel, on_message, on_gap)
        self.placed.add(placed)
        try:
            async with asyncio.timeout(self._settings.store_timeout):
                await self._known.wait()
            await placed.move(self._shard_of(placed.channel))
        except BaseException as error:
            await placed.close()
            if isinstance(error, TimeoutError):
                raise StoreUnavailable("the Redis cluster does not answer") from error
            raise
        return placed

    async def run(self) -> None:
        """Look where the slots are, at intervals and whenever a shard lost something."""
        while True:
            self._changed.clear()
            wait = LOOK
            try:
                await self._look()
            except StoreError as error:
                logger.warning("channels may be at the wrong shard (%s); looking again", error)
                wait = AGAIN
            await asyncio.sleep(AGAIN)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def close(self) -> None:
        for node in list(self._shards):
            await self._close_shard(node)

    async def _look(self) -> None:
        with store_errors():
            await self._client.initialize()
            await self._client.look()
        nodes = set(self._client.get_primaries())
        for node in nodes - self._shards.keys():
            shard = Shard(node, partial(self._name_at, node), self._lost)
            stack = AsyncExitStack()
            opening = self._open_shard(self._settings, shard)
            self._shards[node] = await stack.enter_async_context(opening), stack
        self._known.set()
        outcomes = await asyncio.gather(
            *(self._settle(placed) for placed in list(self.placed)), return_exceptions=True
        )
        for node in self._shards.keys() - nodes:
            await self._close_shard(node)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _settle(self, placed: _Placed) -> None:
        await placed.move(self._shard_of(placed.channel))

    async def _close_shard(self, node: ClusterNode) -> None:
        _, stack = self._shards.pop(node)
        await stack.aclose()

    def _lost(self, channel: str | None) -> None:
        for placed in self.placed:
            if placed.channel == channel:
                placed.shard = None
        self._changed.set()

    def _name_at(self, node: ClusterNode) -> str:
        token = os.urandom(8).hex()
        names = (f"{self._settings.key_prefix}probe:{{{token}-{n}}}" for n in range(NAMES))
        with store_errors():
            for name in names:
                if self._client.get_node_from_key(name) == node:
                    return name
        raise StoreUnavailable("this server has no slots any more")

    def _shard_of(self, channel: str) -> PubSub:
        with store_errors():
            node = self._client.get_node_from_key(channel)
        if node not in self._shards:
            raise StoreUnavailable(f"nobody listens yet at the shard of {channel}")
        return self._shards[node][0]
