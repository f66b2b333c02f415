"""Messages over Redis pub/sub, on one connection of this worker.

Redis keeps nothing for those who do not listen, and redis-py neither notices a hung server nor
says that it subscribed anew. So the connection is ours. In silence it publishes to itself; what it
does not hear means a new connection, and each new connection tells every handler of a gap.
"""

import asyncio
import contextlib
import math
import os
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

from sanic.log import logger

from server import background, metrics
from server.errors import StoreError, StoreUnavailable
from server.pubsub import PubSub
from server.pubsub.cluster import Shard, open_cluster
from server.redis import connect, connect_node, is_cluster, prepare, store_errors
from server.settings import Settings

__all__ = ["SHARED", "RedisPubSub", "open_pubsub", "prepare"]

SHARED = True
PROBE_AFTER = 1.0  # seconds of silence
DEAF_AFTER = 3.0  # seconds in which nothing was heard, not even the probe
RECONNECT_DELAYS = (0.05, 2.0)  # seconds: the first, and the longest


@contextlib.asynccontextmanager
async def open_pubsub(settings: Settings) -> AsyncIterator[PubSub]:
    """A bus that reaches all workers on all hosts of this Redis."""
    async with connect(settings) as client:
        single = RedisPubSub(client, settings.key_prefix, settings.store_timeout)
        spread = open_cluster(client, settings, _open_shard)
        async with spread if is_cluster(settings) else _run(single) as pubsub:
            yield pubsub


@contextlib.asynccontextmanager
async def _open_shard(settings: Settings, shard: Shard) -> AsyncIterator[PubSub]:
    async with (
        connect_node(settings, shard.node) as client,
        _run(_ShardPubSub(client, settings.store_timeout, shard)) as pubsub,
    ):
        yield pubsub


@contextlib.asynccontextmanager
async def _run(pubsub: "RedisPubSub") -> AsyncIterator[PubSub]:
    reader = background.keep_running(pubsub.run, "pub/sub reader")
    try:
        yield pubsub
    finally:
        await background.stop(reader)


class _Subscription:
    def __init__(
        self,
        pubsub: "RedisPubSub",
        channel: str,
        on_message: Callable[[bytes], None],
        on_gap: Callable[[], None],
    ) -> None:
        self.on_message = on_message
        self.on_gap = on_gap
        self.confirmed = asyncio.Event()
        self._connection: Any = None
        self._pubsub = pubsub
        self._channel = channel

    def confirm(self, connection: Any) -> None:
        """Redis says that this connection hears the channel."""
        if self._connection not in (None, connection):
            self.on_gap()
        self._connection = connection
        self.confirmed.set()

    async def close(self) -> None:
        await self._pubsub.remove(self._channel, self)


class RedisPubSub:
    """Delivers messages to handlers, reconnecting for as long as it runs."""

    def __init__(self, client: Any, prefix: str, timeout: float) -> None:
        self._client = client
        self._prefix = prefix
        self._timeout = timeout
        self._handlers: defaultdict[str, list[_Subscription]] = defaultdict(list)
        self._connection: Any = None
        self._heard = 0.0
        self._lost = False
        self._probe = f"{prefix}probe:{os.urandom(8).hex()}"

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def publish(self, channel: str, message: bytes) -> None:
        with store_errors():
            await self._publish(self._prefix + channel, message)

    async def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> _Subscription:
        subscription = _Subscription(self, channel, on_message, on_gap)
        self._handlers[self._prefix + channel].append(subscription)
        try:
            async with asyncio.timeout(self._timeout):
                await self._send("SUBSCRIBE", self._prefix + channel)
                await subscription.confirmed.wait()
        except BaseException as error:
            await subscription.close()
            if isinstance(error, TimeoutError):
                raise StoreUnavailable("Redis did not confirm a subscription in time") from error
            raise
        return subscription

    async def remove(self, channel: str, subscription: _Subscription) -> None:
        """Stop calling one subscription; the channel's last one ends it in Redis too."""
        name = self._prefix + channel
        handlers = self._handlers.get(name, [])
        if subscription in handlers:
            handlers.remove(subscription)
            if not handlers:
                del self._handlers[name]
                await self._send("UNSUBSCRIBE", name)

    async def run(self) -> None:
        """Listen until cancelled, over as many connections as it takes."""
        now = asyncio.get_running_loop().time
        delay, longest = RECONNECT_DELAYS
        while True:
            began = now()
            try:
                with store_errors():
                    await self._listen()
            except StoreError as error:
                metrics.RECONNECTS.inc()
                self._lost = True
                logger.warning("pub/sub connection lost (%s); connecting again", error)
            if now() - began > longest:
                delay = RECONNECT_DELAYS[0]
            await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 - jitter
            delay = min(delay * 2, longest)

    async def _listen(self) -> None:
        pool = self._client.connection_pool
        connection = pool.make_connection()
        try:
            await connection.connect()
            self._connection = connection
            if self._lost:
                logger.info("pub/sub connected again")
            self._lost = False
            self._heard = asyncio.get_running_loop().time()
            await self._send("SUBSCRIBE", self._probe, *self._handlers)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                tasks.create_task(self._read(connection))
        except* Exception as group:  # noqa: BLE001 - passed on
            raise group.exceptions[0] from None
        finally:
            self._connection = None  # first: sending on a closed connection would open it again
            await connection.disconnect(nowait=True)

    async def _read(self, connection: Any) -> None:
        now = asyncio.get_running_loop().time
        while True:
            reply = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            self._heard = now()
            self._take(reply[0], reply[1].decode(), reply[2])

    def _take(self, kind: bytes, channel: str, value: Any) -> None:
        if kind == b"message":
            for subscription in list(self._handlers.get(channel, ())):
                subscription.on_message(value)
        elif kind == b"subscribe":
            for subscription in list(self._handlers.get(channel, ())):
                subscription.confirm(self._connection)

    async def _watch(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(PROBE_AFTER / 2)
            silence = now() - self._heard
            if silence > DEAF_AFTER:
                raise TimeoutError("it hears nothing")
            if silence > PROBE_AFTER:
                with contextlib.suppress(StoreError), store_errors():  # if it is heard, counts
                    await self._publish(self._probe, b"")

    async def _send(self, command: str, *channels: str) -> None:
        # Without a connection the next one subscribes to all that is wanted by then.
        if self._connection is not None:
            with contextlib.suppress(StoreError), store_errors():
                await self._connection.send_command(command, *channels)

    async def _publish(self, name: str, message: bytes) -> None:
        await self._client.publish(name, message)


class _ShardPubSub(RedisPubSub):
    """The same at one shard of a cluster, in the commands that stay within it."""

    def __init__(self, client: Any, timeout: float, shard: Shard) -> None:
        super().__init__(client, "", timeout)
        self._shard = shard
        self._left: Counter[str] = Counter()

    async def _listen(self) -> None:
        self._left.clear()
        try:
            self._probe = self._shard.own_name()
            await super()._listen()
        finally:
            self._shard.lost(None)

    def _take(self, kind: bytes, channel: str, value: Any) -> None:
        if kind != b"sunsubscribe":
            super()._take(kind.removeprefix(b"s"), channel, value)
        elif self._left[channel]:
            self._left[channel] -= 1
        else:  # its slot has moved to another shard
            self._handlers.pop(channel, None)
            self._shard.lost(channel)

    async def _send(self, command: str, *channels: str) -> None:
        if command == "UNSUBSCRIBE" and self._connection is not None:
            self._left.update(channels)
        for channel in channels:  # one by one: they are in different slots
            await super()._send(f"S{command}", channel)

    async def _publish(self, name: str, message: bytes) -> None:
        await self._client.spublish(name, message)
