"""The rooms of this worker."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sanic.log import logger

from gospa import tasks
from gospa.errors import StoreError, StoreUnavailable, Unauthorized
from gospa.live.local_room import LocalRoom, RoomContext
from gospa.live.mutations import STOPPED
from gospa.live.router import Router
from gospa.pubsub import PubSub
from gospa.room import Room
from gospa.sessions.session import Session
from gospa.settings import Settings
from gospa.stats import STATS
from gospa.store.contract import StateStore

TICK = 1.0  # seconds between checks for unused rooms
DRAIN_TIMEOUT = 3.0  # seconds for commits under way to finish


@asynccontextmanager
async def open_hub(
    store: StateStore, pubsub: PubSub, router: Router, settings: Settings
) -> AsyncIterator["Hub"]:
    """A hub with its periodic tasks; closes all rooms at the end."""
    hub = Hub(store, pubsub, router, settings)
    async with (
        tasks.running(hub.watch, "unused rooms"),
        tasks.running(hub.watch_tags, "comparison of rooms with the store"),
    ):
        try:
            yield hub
        finally:
            await hub.close()


class Hub:
    """Opens a room for its first member, and closes it after the last one has left."""

    def __init__(
        self, store: StateStore, pubsub: PubSub, router: Router, settings: Settings
    ) -> None:
        self.settings = settings
        self.server = {
            "pid": os.getpid(),
            "frame_size": settings.frame_size,
            "frame_depth": settings.frame_depth,
            "frame_elements": settings.frame_elements,
        }
        self.draining = False
        self.rooms: dict[str, LocalRoom] = {}
        self.worker = os.urandom(8).hex()
        self.store = store
        self.pubsub = pubsub
        self.router = router
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._gap = asyncio.Event()
        self._context = RoomContext(self.worker, store, pubsub, self._gap.set, settings.room_size)

    @property
    def subscribed(self) -> bool:
        """Whether this worker receives what other workers publish."""
        return self.pubsub.connected

    async def enter(
        self, name: str, session: Session, version: int = 0, tag: bytes | None = None
    ) -> LocalRoom:
        """The room of that name, open, and not older than what a client was shown of it.

        If members were kicked meanwhile, or nobody here listened for that, `authorize` is asked
        again: it may have answered before. Raises RoomError, or StoreError if it cannot be loaded.
        """
        key, room = self.router.resolve(name, session)
        before = self.rooms.get(key)
        asked = (before, before.kicks if before else 0)
        await _authorize(room, session)
        local = await self._opened(key, room)
        with local.held():
            await local.catch_up(version, tag)
            while asked != (local, local.kicks) and not room.private:
                asked = (local, local.kicks)
                await _authorize(room, session)
        return local

    @asynccontextmanager
    async def hold(self, key: str, room: Room) -> AsyncIterator[LocalRoom]:
        """Keep a room open for the application. Raises StoreError if it cannot be loaded."""
        if self.draining:
            raise StoreUnavailable(STOPPED)
        local = await self._opened(key, room)
        with local.held():
            yield local

    async def _opened(self, key: str, room: Room) -> LocalRoom:
        while key not in self.rooms:  # it may be closed again before we get our turn
            if key not in self._opening:
                self._opening[key] = asyncio.create_task(self._open(key, room))
                self._opening[key].add_done_callback(_collect)
            opening = self._opening[key]
            try:
                await asyncio.shield(opening)
            except asyncio.CancelledError:
                if opening.cancelled():  # and not the caller
                    raise StoreUnavailable(STOPPED) from None
                raise
        return self.rooms[key]

    async def watch(self) -> None:
        """Close rooms without members, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            for local in list(self.rooms.values()):
                if local.unused:  # still: a member may have joined while another room was closed
                    del self.rooms[local.key]
                    await local.close()
            self._set_gauges()

    async def watch_tags(self) -> None:
        """Compare all rooms with the store at intervals, and at once after a gap."""
        while True:
            jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spread, not a secret
            interval = self.settings.head_check_interval * jitter
            with suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._gap.wait()
            self._gap.clear()
            await self._compare_tags()

    async def drain(self) -> None:
        """Refuse new mutations, and let commits in progress finish."""
        self.draining = True
        rooms = list(self.rooms.values())
        for local in rooms:
            local.mutations.drop()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT):
                for local in rooms:
                    await local.mutations.idle.wait()

    async def close(self) -> None:
        """Close all rooms, also those that are being opened."""
        await tasks.stop(*self._opening.values())
        await asyncio.gather(*(local.close() for local in self.rooms.values()))

    def _set_gauges(self) -> None:
        STATS.rooms = len(self.rooms)
        STATS.members = sum(len(local.fanout) for local in self.rooms.values())

    async def _open(self, key: str, room: Room) -> None:
        local = LocalRoom(key, room, self._context)
        try:
            await local.open()
            self.rooms[key] = local
        except BaseException:
            await local.close()
            raise
        finally:
            del self._opening[key]

    async def _compare_tags(self) -> None:
        keys, rooms = list(self.rooms), list(self.rooms.values())
        since = [local.replica.tag for local in rooms]
        try:
            tags = await self.store.latest_tags(keys)
        except StoreError as error:
            logger.warning("rooms cannot be compared with the store: %s", error)
            return
        if missing := len(rooms) - len(tags):
            logger.warning("%d of %d rooms cannot be compared with the store", missing, len(rooms))
        await asyncio.gather(
            *(
                local.compare(tags[local.key], tag)
                for local, tag in zip(rooms, since, strict=True)
                if local.key in tags
            )
        )


async def _authorize(room: Room, session: Session) -> None:
    if not await room.authorize(session):
        raise Unauthorized(f"you may not enter {room.name}")


def _collect(opening: asyncio.Task[None]) -> None:
    """Note the error of a room that could not be opened, as its callers may have gone."""
    if not opening.cancelled():
        opening.exception()
