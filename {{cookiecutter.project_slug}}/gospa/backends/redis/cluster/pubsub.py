"""Sharded pub/sub in a Redis cluster: a channel is served by the shard that has its room's keys.

redis-py's `ClusterPubSub` polls its connections one after another and does not report gaps. So each
shard has a `Listener`, and a channel moves to another one when its slot moves.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any

from redis.asyncio.cluster import ClusterNode
from redis.exceptions import SlotNotCoveredError
from sanic.log import logger

from gospa import tasks
from gospa.backends.redis.address import parse_address
from gospa.backends.redis.batch import Server
from gospa.backends.redis.client import limits
from gospa.backends.redis.cluster.client import Cluster
from gospa.backends.redis.errors import store_errors
from gospa.backends.redis.listener import Channel, Listener
from gospa.errors import StoreError, StoreUnavailable
from gospa.settings import Settings

REFRESH = 5.0  # seconds between refreshes of the slot table
RETRY = 0.25  # seconds after a refresh that failed, and at least between two
NAMES = 100_000  # attempts to find a name in a slot of a shard, which may have few slots


@asynccontextmanager
async def listen(
    client: Cluster, settings: Settings, probe: str
) -> AsyncIterator["ShardListeners"]:
    """Listeners to all shards that run until the block ends."""
    shards = ShardListeners(client, settings, probe)
    async with aclosing(shards), tasks.running(shards.run, "pub/sub"):
        yield shards


class ShardListeners:
    """Subscribes to channels at their shards, and follows slots that move."""

    def __init__(self, client: Cluster, settings: Settings, probe: str) -> None:
        self._client = client
        self._settings = settings
        self._probe = probe
        self._shards: dict[Any, tuple[Listener, asyncio.Task[None]]] = {}
        self._places: dict[Channel, Listener | None] = {}  # the listener of each channel
        self._changed = asyncio.Event()
        self._fault: StoreError | None = None  # of the last refresh

    @property
    def connected(self) -> bool:
        """Whether any shard is connected: no worker could reach a shard that is down."""
        return any(listener.connected for listener, _ in self._shards.values())

    @property
    def fault(self) -> StoreError | None:
        faults = [listener.fault for listener, _ in self._shards.values()]
        return next((fault for fault in faults if fault), self._fault)

    async def enter(self, channel: Channel) -> None:
        """Subscribe to a channel, as soon as its shard is known."""
        self._places[channel] = None
        if not await self._settle(channel):
            self._changed.set()

    async def leave(self, channel: Channel) -> None:
        if listener := self._places.pop(channel, None):
            await listener.leave(channel)

    async def run(self) -> None:
        """Refresh the slot table, at intervals and whenever a shard lost a channel."""
        while True:
            self._changed.clear()
            wait = REFRESH
            try:
                await self._refresh()
                self._fault = None
            except StoreError as error:
                self._fault = error
                logger.warning("channels may be at the wrong shard (%s); retrying", error)
                wait = RETRY
            await asyncio.sleep(RETRY)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def aclose(self) -> None:
        await self._close(*self._shards)

    async def _refresh(self) -> None:
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
            raise StoreUnavailable("some slots have no owner")

    async def _settle(self, channel: Channel) -> bool:
        """Subscribe to a channel at its shard. Returns False if the slot has no owner."""
        try:
            listener, _ = self._shards[self._client.get_node_from_key(channel.name)]
        except (SlotNotCoveredError, KeyError):
            return False
        before = self._places.get(channel, listener)  # unless it was closed meanwhile
        if before is not listener:
            self._places[channel] = listener
            await listener.enter(channel)
            if before:
                await before.leave(channel)
        return True

    async def _listen(self, node: ClusterNode, listener: Listener) -> None:
        async with self._connect(node) as client:
            await listener.run(client)

    def _connect(self, node: ClusterNode) -> Server:
        options = parse_address(self._settings.redis_url).options | limits(self._settings)
        return Server(host=node.host, port=int(node.port), **options)

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
