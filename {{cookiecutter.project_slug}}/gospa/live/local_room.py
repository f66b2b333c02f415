"""A room with members in this worker: keeps its replica current and its members informed."""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sanic.log import logger

from gospa import tasks
from gospa.action import Member
from gospa.errors import StoreError, StoreUnavailable
from gospa.live import wire
from gospa.live.mutations import MutationQueue
from gospa.live.replica import Link, Replica
from gospa.live.writer import Fanout, Writer, framed
from gospa.pubsub import PubSub, Subscription
from gospa.room import Room
from gospa.stats import STATS
from gospa.store.contract import ABSENT, NO_TAG, Snapshot, StateStore, channel

BUFFER = 1024  # messages kept while the room is being loaded
GRACE = 0.25  # seconds that a commit may take from the store to here
RELOAD_DELAYS = (0.1, 2.0)  # seconds: the first, and the longest
CATCH_UP = 5.0  # seconds that a JOIN waits for a newer state; clients expect a PONG within ten
MISSED = "a commit was missed"


@dataclass(frozen=True, slots=True)
class RoomContext:
    """What all rooms of a worker share; `on_gap` has their tags compared with the store's."""

    worker: str
    store: StateStore
    pubsub: PubSub
    on_gap: Callable[[], None]
    room_size: float = math.inf


class MemberList(Protocol):
    """Who is in a room, as the presence extra keeps it (see `Room._track_members`)."""

    @property
    def settled(self) -> bool:
        """Whether the list in the store is right, as far as this worker knows."""

    def enter(self, member: str, connection: object, details: Any) -> None:
        """List a member, or replace its details. Raises Invalid."""

    def leave(self, member: str, connection: object) -> None:
        """Remove a member, unless it is here over another connection."""


class Seat(Protocol):
    """A connection that has joined a room."""

    @property
    def member(self) -> Member:
        """Who it is."""

    def kick(self, room: str) -> None:
        """Remove it from a room, and tell the client."""


class LocalRoom:
    """Follows the room's channel, and loads the room when a commit is missing."""

    def __init__(self, key: str, room: Room, context: RoomContext) -> None:
        self.key = key
        self.room = room
        self.context = context
        self.fanout = Fanout(self)
        self.replica = Replica(ABSENT)
        self.mutations = MutationQueue(
            key,
            room.name,
            room.initial_fields,
            context.store,
            lambda: self.replica.snapshot,
            limit=context.room_size,
        )
        self.members: MemberList | None = room._track_members(self)  # noqa: SLF001
        self._subscription: Subscription | None = None
        self._buffer: list[bytes] | None = []
        self._snapshot: tuple[bytes, bytes] | None = None  # tag, frame
        self._repairing: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[StoreError | None] | None = None
        self._holders = 0  # calls of the application that need it open, and joins in progress
        self.listeners: set[Callable[[], None]] = set()  # called after each change, and at the end
        self.closed = False
        self.kicks = 0
        self._seats: dict[Writer, Seat] = {}

    @property
    def unused(self) -> bool:
        """Whether it can be closed: no member, nobody about to be one, nothing left to write."""
        settled = self.members is None or self.members.settled
        members = len(self.fanout) + self._holders
        return not members and self.mutations.idle.is_set() and settled

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep it open for the block."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    async def open(self) -> None:
        """Subscribe, then load: nothing committed after that is missed. Raises StoreError."""
        self._subscription = await self.context.pubsub.subscribe(
            channel(self.key), self._receive, self.context.on_gap
        )
        while not self._catch_up(await self._load()):
            pass

    async def close(self) -> None:
        """Stop following the room."""
        self.closed = True
        self._notify()
        await self.mutations.close()
        await tasks.stop(*(task for task in (self._repairing, self._checking) if task))
        if self._subscription:
            await self._subscription.close()

    async def catch_up(self, version: int, tag: bytes | None) -> None:
        """Load the room if it lacks a commit that a client was shown, or had acknowledged.

        So within a chain, no client is shown an older state after it reconnected to this worker.
        Clients that come together share one question to the store. Until it is answered, the room
        is not closed. Raises StoreError, also if that takes long.
        """
        try:
            with self.held():
                async with asyncio.timeout(CATCH_UP):
                    if self._lacks(version, tag) and self._checking and not self._checking.done():
                        await self._checked(self._checking)  # it may have asked before the commit
                    if self._lacks(version, tag):
                        if self._checking is None or self._checking.done():
                            self._checking = asyncio.create_task(self._check_tag())
                        await self._checked(self._checking)
        except TimeoutError as error:
            raise StoreUnavailable("the newest state was not loaded in time") from error

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
        try:
            tags = await self.context.store.latest_tags([self.key])
        except StoreError as error:
            return error
        await self._repaired()  # a repair under way may have loaded an older state
        if not self.replica.knows(tags.get(self.key, NO_TAG)):
            self._repair(MISSED)
            await self._repaired()
        return None

    async def _repaired(self) -> None:
        if self._repairing is not None:
            await asyncio.wait([self._repairing])

    def join(self, seat: Seat, writer: Writer, tag: bytes | None) -> None:
        """Bring a member up to date, from the commit with `tag` on if that is still kept."""
        self._seats[writer] = seat
        self.fanout.add(writer)
        missed = None if tag is None else self.replica.missed(tag)
        frames = [self.snapshot_frame()] if missed is None else missed
        joined = wire.joined(
            self.room.name, self.replica.version, self.replica.tag, self.room.initial_fields
        )
        writer.write(b"".join([*frames, framed(joined)]))

    def leave(self, writer: Writer) -> None:
        """Send a member nothing more."""
        self._seats.pop(writer, None)
        self.fanout.remove(writer)

    def snapshot_frame(self) -> bytes:
        """The room's state as a framed SNAPSHOT, encoded once per version."""
        self.fanout.flush()
        if self._snapshot is None or self._snapshot[0] != self.replica.tag:
            frame = framed(wire.snapshot(self.room.name, self.replica.snapshot))
            self._snapshot = (self.replica.tag, frame)
        return self._snapshot[1]

    async def send_event(self, name: str, payload: object, sender: str) -> None:
        """Publish a member's ephemeral event to those on all workers. Raises StoreError."""
        event = wire.event(self.room.name, name, payload, sender)
        await self.context.pubsub.publish(channel(self.key), event)

    async def compare(self, tag: bytes, since: bytes) -> None:
        """Load the room if `tag`, the store's, is not in the replica's chain from `since` on."""
        if self.replica.passed(tag, since):
            return
        if not self.replica.knows(tag):
            await asyncio.sleep(GRACE)
            if self.replica.knows(tag):
                return
        self._repair("the store is at another commit")

    def _receive(self, message: bytes) -> None:
        if kicked := wire.read_kick(message):  # also while the room is being loaded
            self._kick(kicked)
        elif self._buffer is None:
            self._follow(message)
        elif len(self._buffer) < BUFFER:
            self._buffer.append(message)

    def _follow(self, message: bytes) -> None:
        if wire.is_event(message):
            self.fanout.send(framed(message))
            return
        frame = framed(message)
        match self._apply(self.replica, message, frame):
            case Link.NEXT:
                self.mutations.published(self.replica.tag, self.replica.version)
                self.fanout.send(frame)
                self._notify()
            case Link.GAP:
                self._repair(MISSED)
            case Link.STRAY:  # late, or the store lost commits: compare with the store's tag
                self.context.on_gap()

    @staticmethod
    def _apply(replica: Replica, message: bytes, frame: bytes) -> Link:
        try:
            return replica.apply(wire.read_patch(message), frame)
        except wire.WireError:
            return Link.STRAY  # deleted, or foreign: compare with the store

    def _repair(self, reason: str) -> None:
        if self._repairing is None or self._repairing.done():
            logger.info("loading room %s again: %s", self.key, reason)
            if reason == MISSED:
                STATS.loads_missed += 1
            else:
                STATS.loads_other += 1
            self._buffer = []
            self._repairing = tasks.start(self._reload(), f"repair of {self.key}")

    async def _reload(self) -> None:
        delay, longest = RELOAD_DELAYS
        loaded = False
        while not loaded:
            try:
                loaded = self._catch_up(await self._load())
            except StoreError as error:
                logger.warning("room %s cannot be loaded yet: %s", self.key, error)
                await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 - jitter
                delay = min(delay * 2, longest)

    async def _load(self) -> Snapshot:
        self._buffer = []
        return await self.context.store.load(self.key) or ABSENT

    def _catch_up(self, snapshot: Snapshot) -> bool:
        """Apply to a snapshot the messages that arrived meanwhile; False if they have a gap."""
        buffered = self._buffer or []
        patches = [message for message in buffered if not wire.is_event(message)]
        replica = Replica(snapshot)
        links = [self._apply(replica, message, framed(message)) for message in patches]
        if Link.GAP in links or len(buffered) == BUFFER:
            return False
        shown, self.replica, self._buffer = self.replica.tag, replica, None
        self.mutations.restart()
        if replica.tag != shown:
            self._notify()
            if len(self.fanout):
                self.fanout.send(self.snapshot_frame())
        return True

    def _kick(self, whom: wire.Kick) -> None:
        self.kicks += 1  # who is about to join is asked again by `authorize`
        for seat in list(self._seats.values()):
            if whom.user in (None, seat.member.user) and whom.member in (None, seat.member.id):
                seat.kick(self.room.name)

    def _notify(self) -> None:
        for listener in list(self.listeners):
            listener()
