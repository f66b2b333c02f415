"""The connections and rooms of this worker."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Protocol

from sanic.log import logger

from gospa import tasks
from gospa.errors import StoreError
from gospa.extras import metrics
from gospa.live import presence, wire
from gospa.live.local_room import LocalRoom, Services
from gospa.pubsub import PubSub
from gospa.room import Directory, Room, Unauthorized
from gospa.sessions.session import Session
from gospa.settings import Settings
from gospa.stats import Counters
from gospa.store.contract import StateStore

TICK = 1.0  # seconds between looks for silent and stuck connections
SPREAD_MS = 2000  # over which clients of a stopping worker come back
CLOSE_TIMEOUT = 3.0  # seconds for commits to finish, and then for clients to take leave


class Client(Protocol):
    """A connection, as far as the hub is concerned."""

    closed: asyncio.Future[None]

    def send(self, message: bytes) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    def abort(self) -> None: ...
    def check_alive(self) -> None: ...


@asynccontextmanager
async def open_hub(
    store: StateStore, pubsub: PubSub, directory: Directory, settings: Settings
) -> AsyncIterator["Hub"]:
    """A hub with its periodic tasks; takes leave of all clients at the end."""
    hub = Hub(store, pubsub, directory, settings)
    async with (
        tasks.running(hub.watch, "watch of connections and rooms"),
        tasks.running(hub.watch_heads, "head check"),
        tasks.running(hub.watch_presence, "presence"),
    ):
        try:
            yield hub
        finally:
            await hub.close()


class Hub:
    """Opens a room when its first member comes and closes it when the last has left."""

    def __init__(
        self, store: StateStore, pubsub: PubSub, directory: Directory, settings: Settings
    ) -> None:
        self.settings = settings
        self.server = {
            "pid": os.getpid(),
            "frame_size": settings.frame_size,
            "frame_depth": settings.frame_depth,
            "frame_elements": settings.frame_elements,
        }
        self.counters = Counters()
        self._told = Counters()
        self.draining = False
        self.connections: set[Client] = set()
        self.rooms: dict[str, LocalRoom] = {}
        self._directory = directory
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._gap = asyncio.Event()
        worker = os.urandom(8).hex()
        self._services = Services(
            worker, store, pubsub, self._gap.set, self.counters, settings.room_size
        )

    @property
    def connected(self) -> bool:
        """Whether changes made on other workers reach this one."""
        return self._services.pubsub.connected

    async def enter(self, name: str, session: Session) -> LocalRoom:
        """The room of that name, open. Raises RoomError, or StoreError if it cannot be loaded."""
        key, room = self._directory.resolve(name.removesuffix(presence.SUFFIX), session)
        if name.endswith(presence.SUFFIX):
            key, room = key + presence.SUFFIX, presence.Members(room)
        if not await room.authorize(session):
            raise Unauthorized(f"you may not enter {name}")
        while key not in self.rooms:  # it may be closed again before we get our turn
            if key not in self._opening:
                self._opening[key] = asyncio.create_task(self._open(key, room))
            await asyncio.shield(self._opening[key])
        return self.rooms[key]

    async def watch(self) -> None:
        """Ping silent connections, close dead and stuck ones, close rooms without members."""
        while True:
            await asyncio.sleep(TICK)
            for connection in list(self.connections):
                connection.check_alive()
            for local in list(self.rooms.values()):
                if local.empty:  # still: somebody may have come while another was closed
                    del self.rooms[local.key]
                    await local.close()
            self._tell()

    async def watch_heads(self) -> None:
        """Compare all rooms with the store at intervals, and at once after a gap."""
        while True:
            jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spread, not a secret
            interval = self.settings.head_check_interval * jitter
            with suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._gap.wait()
            self._gap.clear()
            await self._compare_heads()

    async def watch_presence(self) -> None:
        """Hold this worker's lease, and keep the lists of members true."""
        while True:
            attendances = [local.attendance for local in self.rooms.values() if local.attendance]
            try:
                await presence.review(self._services.store, self._services.worker, attendances)
            except StoreError as error:
                logger.warning("lists of members cannot be reviewed: %s", error)
            await asyncio.sleep(presence.REVIEW)

    async def close(self) -> None:
        """Take no more mutations, let those under way finish, say BYE to all clients, and close."""
        self.draining = True
        rooms = list(self.rooms.values())
        for local in rooms:
            local.mutations.drop()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                for local in rooms:
                    await local.mutations.settled()
        for connection in list(self.connections):
            delay = random.randrange(SPREAD_MS)  # noqa: S311 - spread, not a secret
            connection.send(wire.bye(wire.CLOSE_RESTART, delay))
            connection.close(wire.CLOSE_RESTART, "the server restarts")
        if waiting := [connection.closed for connection in self.connections]:
            await asyncio.wait(waiting, timeout=CLOSE_TIMEOUT)
        for connection in list(self.connections):
            connection.abort()
        await asyncio.gather(*(local.close() for local in self.rooms.values()))
        self._tell()

    def _tell(self) -> None:
        self.counters.tell(self._told)
        self._told = replace(self.counters)
        metrics.CONNECTIONS.set(len(self.connections))
        metrics.ROOMS.set(len(self.rooms))
        metrics.MEMBERS.set(sum(len(local.fanout) for local in self.rooms.values()))

    async def _open(self, key: str, room: Room) -> None:
        local = LocalRoom(key, room, self._services)
        try:
            await local.open()
            self.rooms[key] = local
        except BaseException:
            await local.close()
            raise
        finally:
            del self._opening[key]

    async def _compare_heads(self) -> None:
        keys, rooms = list(self.rooms), list(self.rooms.values())
        since = [local.replica.tag for local in rooms]
        try:
            heads = await self._services.store.heads(keys)
        except StoreError as error:
            logger.warning("rooms cannot be compared with the store: %s", error)
            return
        if missing := len(rooms) - len(heads):
            logger.warning("%d of %d rooms cannot be compared with the store", missing, len(rooms))
        await asyncio.gather(
            *(
                local.compare(heads[local.key], tag)
                for local, tag in zip(rooms, since, strict=True)
                if local.key in heads
            )
        )
