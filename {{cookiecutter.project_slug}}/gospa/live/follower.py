"""Keeps a worker's replica of one room current."""

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Protocol

from sanic.log import logger

from gospa import tasks
from gospa.errors import SchemaMismatch, StoreError, StoreUnavailable
from gospa.live import wire
from gospa.live.frames import framed
from gospa.live.loading import load
from gospa.live.replica import Link, Replica
from gospa.pubsub import PubSub, Subscription
from gospa.room import Room
from gospa.stats import STATS
from gospa.store import schema
from gospa.store.contract import ABSENT, NO_TAG, Snapshot, StateStore, channel

BUFFER = 1024  # messages kept while the room is being loaded
GRACE = 0.25  # seconds that a commit may take from the store to here
RELOAD_DELAYS = (0.1, 2.0)  # seconds: the first, and the longest
CATCH_UP = 5.0  # seconds that a JOIN waits for a newer state; clients expect a PONG within ten
MISSED = "a commit was missed"
UNREADABLE = "the stored value of %s in room %s cannot be read, and members see the default: %s"


class Audience(Protocol):
    """Receives what happens in a room."""

    def advanced(self, frame: bytes) -> None:
        """The replica followed a commit, whose PATCH is `frame`."""

    def replaced(self) -> None:
        """The replica was loaded again, and has another state."""

    def happened(self, frame: bytes) -> None:
        """An event was published."""

    def noticed(self, notice: wire.Notice) -> None:
        """Members are to be removed, or authorized again."""

    def counted(self, crowd: wire.Crowd) -> None:
        """A worker has so many members."""

    def outdated(self) -> None:
        """A newer release has migrated the room: this one cannot serve it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a room's state comes from; `on_gap` has its tag compared with the store's."""

    key: str
    room: Room[Any]
    store: StateStore
    pubsub: PubSub
    on_gap: Callable[[], None]


class Follower:
    """Follows the room's channel, and loads the room when a commit is missing."""

    def __init__(self, source: Source, audience: Audience) -> None:
        self._source, self._audience = source, audience
        self.replica = Replica(ABSENT)
        self._subscription: Subscription | None = None
        self._buffer: list[bytes] | None = []
        self._repairing: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[StoreError | None] | None = None
        self._superseded = False  # it could not be loaded, being of a newer release

    async def open(self) -> None:
        """Subscribe, then load: nothing committed after that is missed.

        Raises StoreError, and what the room's hooks raise.
        """
        channel_ = channel(self._source.key)
        self._subscription = await self._source.pubsub.subscribe(
            channel_, self._receive, self._source.on_gap
        )
        while not self._catch_up(await self._load()):
            pass

    async def close(self) -> None:
        """Stop following the room, and forget its state.

        What remains refers to itself, so that Python frees it much later.
        """
        await tasks.stop(*(task for task in (self._repairing, self._checking) if task))
        if self._subscription:
            await self._subscription.close()
            self._subscription = None
        self.replica = Replica(ABSENT)

    def follow(self, patch: wire.Patch, message: bytes) -> None:
        """Apply a commit that was made here, if it is the next: it need not be delivered first."""
        if self._buffer is None and self.replica.tag == patch.parent:
            frame = framed(message)
            self.replica.apply(patch, frame)
            self._advanced(frame, patch)

    async def catch_up(self, version: int, tag: bytes | None) -> None:
        """Load the room if it lacks a commit that a client was shown, or had acknowledged.

        So within a chain, no client is shown an older state after it reconnected to this worker.
        Clients that come together share one question to the store. Raises StoreError, also if that
        takes long, and SchemaMismatch if the room is that of a newer release by now.
        """
        try:
            async with asyncio.timeout(CATCH_UP):
                if self._lacks(version, tag) and self._checking and not self._checking.done():
                    await self._checked(self._checking)  # it may have asked before the commit
                if self._lacks(version, tag):
                    if self._checking is None or self._checking.done():
                        self._checking = asyncio.create_task(self._check_tag())
                    await self._checked(self._checking)
        except TimeoutError as error:
            raise StoreUnavailable("the newest state was not loaded in time") from error
        if self._outdated:
            raise SchemaMismatch(f"{self._source.key} is stored in the shape of a newer release")

    async def compare(self, tag: bytes, since: bytes) -> None:
        """Load the room if `tag`, the store's, is not in the replica's chain from `since` on."""
        if self.replica.passed(tag, since):
            return
        if not self.replica.knows(tag):
            await asyncio.sleep(GRACE)
            if self.replica.knows(tag):
                return
        self._repair("the store is at another commit")

    def _lacks(self, version: int, tag: bytes | None) -> bool:
        behind = version > self.replica.version
        unknown = version == self.replica.version and not self.replica.knows(tag or NO_TAG)
        return behind or unknown

    @staticmethod
    async def _checked(checking: "asyncio.Task[StoreError | None]") -> None:
        if error := await asyncio.shield(checking):
            raise error

    async def _check_tag(self) -> StoreError | None:
        """Load the room if the store has a newer state; returns the error if the store fails."""
        key = self._source.key
        try:
            tags = await self._source.store.latest_tags([key])
        except StoreError as error:
            return error
        await self._repaired()  # a repair under way may have loaded an older state
        if not self.replica.knows(tags.get(key, NO_TAG)):
            self._repair(MISSED)
            await self._repaired()
        return None

    async def _repaired(self) -> None:
        if self._repairing is not None:
            await asyncio.wait([self._repairing])

    def _receive(self, message: bytes) -> None:
        notice = wire.read_notice(message)  # also while the room is being loaded
        if isinstance(notice, wire.Notice):
            self._audience.noticed(notice)
        elif notice is not None:
            self._audience.counted(notice)
        elif self._buffer is None:
            self._follow(message)
        elif len(self._buffer) < BUFFER:
            self._buffer.append(message)

    def _follow(self, message: bytes) -> None:
        frame = framed(message)
        if wire.is_event(message):
            self._audience.happened(frame)
            return
        link, patch = _applied(self.replica, message, frame)
        if link is Link.NEXT and patch:
            self._advanced(frame, patch)
        elif link is Link.GAP:
            self._repair(MISSED)
        elif link is Link.STRAY:  # late, or the store lost commits: compare with the store's tag
            self._source.on_gap()

    def _advanced(self, frame: bytes, patch: wire.Patch) -> None:
        self._audience.advanced(frame)
        if schema.KEY in patch.set:
            self._check_schema()
        elif patch.parent == NO_TAG and self._is_old(self.replica):
            self._repair("an older release made it")

    @property
    def _outdated(self) -> bool:
        newer = schema.version_of(self.replica.content.fields) > self._source.room.version
        return newer or self._superseded

    def _is_old(self, replica: Replica) -> bool:
        """Whether an older release created the room after this worker had found none."""
        own = schema.version_of(replica.content.fields) >= self._source.room.version
        return replica.version > 0 and not own

    def _check_schema(self) -> None:
        if self._outdated:
            self._audience.outdated()

    def _repair(self, reason: str) -> None:
        if self._subscription is None:
            return  # closed, while its tag was compared with the store's
        if self._repairing is None or self._repairing.done():
            logger.info("loading room %s again: %s", self._source.key, reason)
            if reason == MISSED:
                STATS.loads_missed += 1
            else:
                STATS.loads_other += 1
            self._buffer = []
            self._repairing = tasks.start(
                self._reload(), f"repair of {self._source.key}", Context()
            )  # in a context of its own: no visitor has it done

    async def _reload(self) -> None:
        delay, longest = RELOAD_DELAYS
        loaded = False
        while not loaded:
            try:
                loaded = self._catch_up(await self._load())
            except SchemaMismatch:
                self._superseded = True
                self._audience.outdated()
                return
            except Exception as error:  # noqa: BLE001 - the store, or a hook of the room
                logger.warning("room %s cannot be loaded yet: %r", self._source.key, error)
                await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 - jitter
                delay = min(delay * 2, longest)

    async def _load(self) -> Snapshot:
        self._buffer = []
        return await load(self._source.store, self._source.key, self._source.room)

    def _catch_up(self, snapshot: Snapshot) -> bool:
        """Apply to a snapshot the messages that arrived meanwhile; False if they have a gap."""
        buffered = self._buffer or []
        patches = [message for message in buffered if not wire.is_event(message)]
        replica = Replica(snapshot)
        links = [_applied(replica, message, framed(message))[0] for message in patches]
        if Link.GAP in links or len(buffered) == BUFFER or self._is_old(replica):
            return False
        shown, self.replica, self._buffer = self.replica.tag, replica, None
        self._superseded = False
        for key, reason in replica.unreadable.items():
            logger.error(UNREADABLE, key, self._source.key, reason)
        if replica.tag != shown:
            self._audience.replaced()
        self._check_schema()
        return True


def _applied(replica: Replica, message: bytes, frame: bytes) -> tuple[Link, wire.Patch | None]:
    try:
        patch = wire.read_patch(message)
    except wire.WireError:
        return Link.STRAY, None  # deleted, or foreign: compare with the store
    return replica.apply(patch, frame), patch
