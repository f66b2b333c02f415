"""The subscriber connection of this worker to one Redis server.

Redis keeps no messages for a disconnected subscriber. So every new connection reports a gap to all
handlers, and a silent connection is probed by publishing to itself: if the probe does not arrive,
it is replaced. Replies are read from redis-py's connection, because its `PubSub.get_message` takes
seven times as long for a message (6.5 us against 0.9 us with redis-py 8.1 on CPython 3.11).
"""

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from sanic.log import logger

from gospa import tasks
from gospa.backends.redis.errors import store_errors
from gospa.errors import StoreError
from gospa.pubsub import Subscription
from gospa.stats import STATS

PROBE_AFTER = 1.0  # seconds without a message
REPLACE_AFTER = 3.0  # seconds without any message, including the probe
RECONNECT_DELAYS = (0.05, 2.0)  # seconds: the first, and the longest


class Channel:
    """The subscriptions to one channel, named as in Redis."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.subscriptions = list[Subscription]()
        self.confirmed = asyncio.Event()

    def deliver(self, message: bytes) -> None:
        for subscription in list(self.subscriptions):
            subscription.on_message(message)

    def confirm(self) -> None:
        """Handle a confirmation by Redis. After the first one, messages may have been missed."""
        if self.confirmed.is_set():
            for subscription in list(self.subscriptions):
                subscription.on_gap()
        self.confirmed.set()


@contextlib.asynccontextmanager
async def listen(client: Any, probe: str) -> AsyncIterator["Listener"]:
    """A listener that runs until the block ends; `probe` names its own channel."""
    listener = Listener(lambda: probe)
    async with tasks.running(partial(listener.run, client), "pub/sub"):
        yield listener


class Listener:
    """Receives the messages of channels, and reconnects until it is cancelled.

    `probe_name` returns the name of its own channel, or raises StoreError. `on_lost` is called with
    a channel that the server has dropped, or None if it may have dropped all. `letter` is S for the
    sharded commands.
    """

    def __init__(
        self,
        probe_name: Callable[[], str],
        on_lost: Callable[[Channel | None], None] = lambda _: None,
        letter: str = "",
    ) -> None:
        self._probe_name = probe_name
        self._on_lost = on_lost
        self._letter = letter
        self._channels: dict[str, Channel] = {}
        self._confirmed: set[str] = set()  # by Redis, on this connection
        self._connection: Any = None
        self._last_received = 0.0
        self.fault: StoreError | None = None  # the error that ended the last connection

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def enter(self, channel: Channel) -> None:
        """Subscribe to a channel; `Channel.confirmed` is set once Redis has confirmed it."""
        self._channels[channel.name] = channel
        await self._send("SUBSCRIBE", channel.name)

    async def leave(self, channel: Channel) -> None:
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            self._confirmed.discard(channel.name)
            await self._send("UNSUBSCRIBE", channel.name)

    async def run(self, client: Any) -> None:
        """Receive messages until cancelled; reconnects as needed."""
        now = asyncio.get_running_loop().time
        delay, longest = RECONNECT_DELAYS
        while True:
            began = now()
            try:
                with store_errors():
                    await self._listen(client)
            except StoreError as error:
                STATS.reconnects += 1
                self.fault = error
                logger.warning("pub/sub connection lost (%s); connecting again", error)
            self._on_lost(None)
            if now() - began > longest:
                delay = RECONNECT_DELAYS[0]
            await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 - jitter
            delay = min(delay * 2, longest)

    async def _listen(self, client: Any) -> None:
        probe = self._probe_name()
        connection = client.connection_pool.make_connection()
        try:
            await connection.connect()
            logger.info("pub/sub connected")
            self._connection = connection
            self._confirmed.clear()
            self._last_received = asyncio.get_running_loop().time()
            await self._send("SUBSCRIBE", probe, *self._channels)
            # No TaskGroup: on Python 3.11 it leaves this task marked as cancelled, and there
            # `asyncio.timeout`, by which redis-py connects, then ends it.
            work = [
                asyncio.create_task(part)
                for part in (self._watch(client, probe), self._read(connection))
            ]
            try:
                await asyncio.gather(*work)
            finally:
                await tasks.stop(*work)
        finally:
            self._connection = None  # first: sending on a closed connection would open it again
            await connection.disconnect(nowait=True)

    async def _read(self, connection: Any) -> None:
        now = asyncio.get_running_loop().time
        while True:
            reply = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            self.fault = None
            self._last_received = now()
            if channel := self._channels.get(reply[1].decode()):
                self._handle(reply[0], channel, reply[2])

    def _handle(self, kind: bytes, channel: Channel, value: Any) -> None:
        match kind:
            case b"message" | b"smessage":
                channel.deliver(value)
            case b"subscribe" | b"ssubscribe":
                self._confirmed.add(channel.name)
                channel.confirm()
            case b"sunsubscribe" if (
                channel.name in self._confirmed
            ):  # otherwise it confirms our own UNSUBSCRIBE
                self._confirmed.remove(channel.name)
                del self._channels[channel.name]
                self._on_lost(channel)

    async def _watch(self, client: Any, probe: str) -> None:
        now = asyncio.get_running_loop().time
        while True:
            began = now()
            await asyncio.sleep(PROBE_AFTER / 2)
            if now() - began > PROBE_AFTER:
                continue  # this process stood still, and what Redis sent is read only now
            silence = now() - self._last_received
            if silence > REPLACE_AFTER:
                raise TimeoutError("no message and no echo of the probe")
            if silence > PROBE_AFTER:
                with contextlib.suppress(StoreError), store_errors():  # only the echo matters
                    await client.execute_command(f"{self._letter}PUBLISH", probe, b"")

    async def _send(self, command: str, *names: str) -> None:
        # Without a connection, the next one subscribes to all channels.
        if self._connection is not None:
            commands = [
                (self._letter + command, name) for name in names
            ]  # one command each: their slots may differ
            # A connection that was closed meanwhile has no writer, which redis-py does not handle.
            with contextlib.suppress(StoreError, AttributeError), store_errors():
                await self._connection.send_packed_command(self._connection.pack_commands(commands))
