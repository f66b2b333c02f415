"""Messages in a Redis cluster: each channel is heard at the shard that has its room's keys.

redis-py follows slots that move, but asks its connections in turn for messages, and tells nobody
of a gap. So each shard has a listener of ours, and channels are moved to where they belong.
"""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

from redis.asyncio.cluster import ClusterNode
from redis.exceptions import SlotNotCoveredError
from sanic.log import logger

from gospa import tasks
from gospa.backends.redis.client import connect_node, store_errors
from gospa.backends.redis.cluster.client import Cluster
from gospa.backends.redis.listener import Channel, Listener
from gospa.errors import StoreError, StoreUnavailable
from gospa.settings import Settings

LOOK = 5.0  # seconds between looks at which shard has which slots
AGAIN = 0.25  # seconds after a look that failed, and at least between two
NAMES = 100_000  # tried until one is in a slot of a shard: it may have only a few


class Shards:
    """Hears channels at their shards, following the slots of the cluster for as long as it runs."""

    def __init__(self, client: Cluster, settings: Settings, probe: str) -> None:
        self._client = client
        self._settings = settings
        self._probe = probe
        self._shards: dict[Any, tuple[Listener, asyncio.Task[None]]] = {}
        self._places: dict[Channel, Listener | None] = {}  # where each is heard
        self._changed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """With any shard: all workers are deaf to one that is away, and none would serve better."""
        return any(listener.connected for listener, _ in self._shards.values())

    async def enter(self, channel: Channel) -> None:
        """Hear it, as soon as its shard is known."""
        self._places[channel] = None
        if not await self._settle(channel):
            self._changed.set()

    async def leave(self, channel: Channel) -> None:
        if listener := self._places.pop(channel, None):
            await listener.leave(channel)

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

    async def aclose(self) -> None:
        await self._close(*self._shards)

    async def _look(self) -> None:
        with store_errors():
            await self._client.initialize()
            await self._client.nodes_manager.initialize()
        nodes = set(self._client.get_primaries())
        for node in nodes - self._shards.keys():
            listener = Listener(partial(self._name_at, node), self._lost, "S")
            listening = partial(self._listen, node, listener)
            self._shards[node] = listener, tasks.keep_running(listening, "pub/sub of a shard")
        settled = [await self._settle(channel) for channel in list(self._places)]
        await self._close(*self._shards.keys() - nodes)
        if not all(settled):
            raise StoreUnavailable("some slots are of no server")

    async def _settle(self, channel: Channel) -> bool:
        """Have a channel heard where it belongs. False if nobody knows where that is."""
        try:
            listener, _ = self._shards[self._client.get_node_from_key(channel.name)]
        except (SlotNotCoveredError, KeyError):
            return False
        before = self._places.get(channel, listener)  # unless it was left meanwhile
        if before is not listener:
            self._places[channel] = listener
            await listener.enter(channel)
            if before:
                await before.leave(channel)
        return True

    async def _listen(self, node: ClusterNode, listener: Listener) -> None:
        async with connect_node(self._settings, node) as client:
            await listener.run(client)

    async def _close(self, *nodes: ClusterNode) -> None:
        await tasks.stop(*(self._shards.pop(node)[1] for node in nodes))

    def _lost(self, channel: Channel | None) -> None:
        if channel:
            self._places[channel] = None
        self._changed.set()

    def _name_at(self, node: ClusterNode) -> str:
        names = (f"{self._probe}{{{number}}}" for number in range(NAMES))
        with store_errors():
            for name in names:
                if self._client.get_node_from_key(name) == node:
                    return name
        raise StoreUnavailable("this server has no slots any more")
