"""The rooms of this worker."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext, suppress
from contextvars import Context
from functools import partial
from typing import Any

from gospa import tasks
from gospa.errors import StoreUnavailable
from gospa.live.access import authorized
from gospa.live.alarms import Waker
from gospa.live.batch import Mutation
from gospa.live.comparison import compare_tags
from gospa.live.crowds import publish_crowds
from gospa.live.limits import VisitorLimits, bill_of_caller
from gospa.live.loading import require_outside, stop_loading
from gospa.live.local_room import LocalRoom, RoomContext
from gospa.live.mutations import STOPPED, QueueOptions
from gospa.live.reviews import VisitReview
from gospa.live.router import Router
from gospa.live.sequence import Applied, MutationSequence, Outcome
from gospa.live.single_flight import SingleFlight
from gospa.live.unsent import Unsent
from gospa.member import Access
from gospa.pubsub import PubSub
from gospa.room import Room
from gospa.sessions.session import Session
from gospa.settings import Settings
from gospa.stats import STATS
from gospa.store.contract import StateStore, session_of
from gospa.store.draft import Run

CHECK_TTL = 60.0  # seconds
TICK = 1.0  # seconds between checks of a room for being unused
OwnRoom = Callable[[str, str], Coroutine[Any, Any, None]]
DRAIN_TIMEOUT = 3.0  # seconds for commits under way to finish


@asynccontextmanager
async def open_hub(
    store: StateStore,
    pubsub: PubSub,
    router: Router,
    settings: Settings,
    own_room: OwnRoom | None = None,
) -> AsyncIterator["Hub"]:
    """A hub with its periodic tasks; closes all rooms at the end.

    `own_room` is called with the identity of a session and each stored room of its own.
    """
    hub = Hub(store, pubsub, router, settings, own_room)
    waker = Waker(hub, store.alarms)
    async with (
        tasks.running(waker.run, "alarms") if router.has_alarms else nullcontext(),
        tasks.running(hub.watch, "unused rooms"),
        tasks.running(hub.watch_tags, "comparison of rooms with the store"),
        tasks.running(VisitReview(hub).run, "visits") if router.has_hooks else nullcontext(),
        tasks.running(partial(publish_crowds, hub.worker, pubsub, hub.rooms), "sizes of rooms"),
    ):
        try:
            yield hub
        finally:
            await hub.close()


class Hub:
    """Opens a room for its first member, and closes it after the last one has left."""

    def __init__(
        self,
        store: StateStore,
        pubsub: PubSub,
        router: Router,
        settings: Settings,
        own_room: OwnRoom | None = None,
    ) -> None:
        self._own_room = own_room
        self.settings = settings
        self.server = {
            **({"pid": os.getpid()} if settings.demo else {}),
            "frame_size": settings.frame_size,
            "frame_depth": settings.frame_depth,
            "frame_elements": settings.frame_elements,
        }
        self.outdated = frozenset(filter(None, map(str.strip, settings.outdated.split(","))))
        self.limits = VisitorLimits(settings)
        self.draining = False
        self.rooms: dict[str, LocalRoom] = {}
        self.worker = os.urandom(8).hex()
        self.store = store
        self.pubsub = pubsub
        self.unsent = Unsent(settings.unsent_size)
        self.router = router
        self._opening = SingleFlight[None]("opening of")
        self._gap = asyncio.Event()
        queue = QueueOptions(settings.room_size, settings.action_warning)
        self._context = RoomContext(
            *(self.worker, store, pubsub, self._gap.set, queue, settings.save_delay),
            created=self._note,
        )

    @property
    def subscribed(self) -> bool:
        """Whether this worker receives what other workers publish."""
        return self.pubsub.connected

    async def check(self) -> None:
        """Write to the store. Raises StoreError if that fails."""
        await self.store.hold_lease("ready", CHECK_TTL)

    async def enter(
        self, name: str, session: Session, version: int = 0, tag: bytes | None = None
    ) -> tuple[LocalRoom, Access]:
        """The room of that name, opened, at least in the version that a client was shown.

        `authorize` is called again if members were kicked meanwhile, or if this worker was not
        subscribed and could have missed it. Raises RoomError, or StoreError if it cannot be loaded.
        """
        key, room = self.router.resolve(name, session)
        before = self.rooms.get(key)
        asked = (before, before.notices if before else 0)
        access = await authorized(room, session)
        local = await self._opened(key, room)
        with local.held():
            await local.catch_up(version, tag)
            while asked != (local, local.notices) and room.scope == "shared":
                asked = (local, local.notices)
                access = await authorized(room, session)
        return local, access

    @asynccontextmanager
    async def hold(self, key: str, room: Room[Any]) -> AsyncIterator[LocalRoom]:
        """Keep a room open for the application. Raises StoreError if it cannot be loaded.

        In the room's own `load` it raises RuntimeError.
        """
        if self.draining:
            raise StoreUnavailable(STOPPED)
        require_outside(key, room.name)
        local = await self._opened(key, room)
        with local.held():
            yield local

    async def submit(  # noqa: PLR0913 - it needs things of many kinds
        self,
        key: str,
        room: Room[Any],
        run: Run,
        sequence: MutationSequence | None = None,
        number: int = 1,
        *,
        name: str,
        visit: bool = False,
        sent: Callable[[float, int], None] | None = None,
    ) -> Any:
        """Run a change of the application in a room's queue; returns its result.

        `sent` is told its bytes and how many get them. Raises its error, also StoreUnavailable when
        the worker stops.
        """
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def end(outcome: Outcome) -> None:
            if not ended.done():  # else the caller gave up
                ended.set_result(outcome)

        async with self.hold(key, room) as local:
            bill = bill_of_caller()
            local.mutations.submit(
                Mutation(sequence, number, run, end, name=name, bill=bill, visit=visit)
            )
            outcome = await ended
            if sent and isinstance(outcome, Applied):
                sent(outcome.size, local.audience)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome.result

    async def _opened(self, key: str, room: Room[Any]) -> LocalRoom:
        while key not in self.rooms:  # it may be closed again before we get our turn
            await self._opening.run(key, partial(self._open, key, room))
        return self.rooms[key]

    async def watch(self) -> None:
        """Close rooms without members, until cancelled."""
        while True:
            members = 0
            async for some in tasks.spread(self.rooms.values(), TICK):
                for local in some:
                    if local.visits:
                        local.visits.tick()
                    if local.unused:  # still: a member may join while another room is closed
                        del self.rooms[local.key]
                        await local.close()
                    members += len(local.fanout)
            STATS.rooms, STATS.members = len(self.rooms), members

    async def watch_tags(self) -> None:
        """Compare all rooms with the store at intervals, and at once after a gap."""
        while True:
            jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spread, not a secret
            interval = self.settings.head_check_interval * jitter
            with suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._gap.wait()
            self._gap.clear()
            await compare_tags(self.store, list(self.rooms.values()))

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
        await self._opening.stop()
        await stop_loading(self.store)
        await asyncio.gather(*(local.close() for local in self.rooms.values()))

    async def _open(self, key: str, room: Room[Any]) -> None:
        if key in self.rooms:
            return  # opened for somebody else, after the limit of another visitor
        local = LocalRoom(key, room, self._context)
        try:
            await local.open()
            self.rooms[key] = local
            if local.follower.replica.version:
                self._note(key)
        except BaseException:
            await local.close()
            raise

    def _note(self, key: str) -> None:
        """Have a stored room of a session's own deleted with the session."""
        if (identity := session_of(key)) and self._own_room is not None:
            tasks.start(self._own_room(identity, key), f"noting {key}", Context())
