"""Reviews visits: holds this worker's lease, and ends visits to workers that have none."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from sanic.log import logger

from gospa import tasks
from gospa.errors import StoreError
from gospa.live.local_room import LocalRoom
from gospa.settings import LEASE
from gospa.store.contract import StateStore

REVIEW = 3.0  # seconds between reviews


class Hub(Protocol):
    """The rooms of this worker."""

    store: StateStore
    worker: str

    @property
    def rooms(self) -> Mapping[str, LocalRoom]:
        """Those that are open, by key."""


class VisitReview:
    """Ends visits that their own worker can no longer end."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._held_since, self._before = math.inf, time.time()

    async def run(self) -> None:
        """Review visits until cancelled."""
        while True:
            try:
                await self._review()
            except StoreError as error:
                self._held_since = math.inf
                logger.warning("visits cannot be reviewed: %s", error)
            await asyncio.sleep(REVIEW)

    async def _review(self) -> None:
        # For LEASE from the last moment of a worker that dies between two reviews.
        await self._hub.store.hold_lease(self._hub.worker, LEASE + REVIEW)
        expired = await self._expired_workers()
        now, clock = asyncio.get_running_loop().time(), time.time()
        if clock - self._before >= LEASE:  # the host slept, or was as busy: others of it, too
            self._held_since = now
        self._held_since, self._before = min(self._held_since, now), clock
        # After an outage, the others need as long to hold theirs again.
        judged = now - self._held_since >= LEASE
        async for local in self._visited():
            if judged or local.visited_by() <= {self._hub.worker}:
                await local.review_visits(expired if judged else [])

    async def _visited(self) -> AsyncIterator[LocalRoom]:
        """The rooms with visits; others have their turn meanwhile, however many these are."""
        for some in tasks.batches(list(self._hub.rooms.values())):
            for local in some:
                if local.visits:
                    yield local
            await asyncio.sleep(0)

    async def _expired_workers(self) -> list[str]:
        """Other workers that have visits in rooms that are open here, and no lease."""
        workers = set[str]()
        async for local in self._visited():
            workers |= local.visited_by()
        others = sorted(workers - {self._hub.worker})
        return await self._hub.store.expired_leases(others) if others else []
