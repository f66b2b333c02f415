"""A room with members in this worker: their seats, the frames for them, and their mutations."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

from gospa.live import wire
from gospa.live.fanout import Fanout
from gospa.live.follower import Follower, Source
from gospa.live.frames import fragmented, framed, grouped
from gospa.live.loading import load
from gospa.live.mutations import MutationQueue, QueueOptions
from gospa.live.newest import Newest
from gospa.live.saving import Saver, has_save
from gospa.live.visits import Visits, has_hooks
from gospa.live.writer import Position, Writer
from gospa.member import Access, Member
from gospa.pubsub import PubSub
from gospa.room import Room
from gospa.store.contract import ABSENT, NO_TAG, StateStore


def _ignore(_: str) -> None:
    """Do nothing with what was created."""


REMEMBERED = 20.0  # seconds for which a worker's count of members holds
REUSE = 0.25  # of a snapshot's size: changes after which it is encoded again


@dataclass(frozen=True, slots=True)
class RoomContext:
    """The parts that all rooms of a worker share.

    `on_gap` starts a comparison of their tags with the store's; `created` is called with the key of
    a room that was created here.
    """

    worker: str
    store: StateStore
    pubsub: PubSub
    on_gap: Callable[[], None]
    queue: QueueOptions
    save_delay: float
    created: Callable[[str], None] = _ignore


class Picture(NamedTuple):
    """A room's state as frames of a SNAPSHOT."""

    at: Position
    frames: list[bytes]
    size: int


class Seat(Protocol):
    """A client's place in a room."""

    member: Member
    access: Access

    def kick(self) -> None:
        """Remove it, and tell the client."""

    def reauthorize(self) -> None:
        """Authorize it again."""

    def restart(self) -> None:
        """Have the client connect again, maybe to another host."""


class LocalRoom:
    """Tells members what happens in the room, and runs their mutations."""

    def __init__(self, key: str, room: Room[Any], context: RoomContext) -> None:
        self.key = key
        self.room = room
        self._created = context.created
        self._store = context.store
        source = Source(key, room, context.store, context.pubsub, context.on_gap)
        self.follower = Follower(source, self)
        self.fanout = Fanout(self)
        self._newest = Newest(lambda: self.follower.replica, self._committed)
        self.saver: Saver | None = None
        if has_save(type(room)):
            self.saver = Saver(room, self.follower, context.save_delay)
        restore = partial(load, context.store, key, room)
        self.mutations = MutationQueue(
            key,
            room.name,
            context.store,
            self._newest,
            replace(context.queue, clocked=self.saver is not None, restore=restore),
        )
        self.visits: Visits | None = None
        if has_hooks(type(room)):
            self.visits = Visits(room, self.mutations, context.worker, context.queue.size)
        self._snapshot: Picture | None = None
        self._worker = context.worker
        self._elsewhere: dict[str, tuple[int, float]] = {}  # members of other workers, until when
        self._holders = 0  # calls of the application that need it open, and joins in progress
        self.listeners: set[Callable[[], None]] = set()  # called after each change, and at the end
        self.closed = False
        self.notices = 0  # received
        self._seats: dict[Writer, Seat] = {}
        schema = room.state.schema()
        self._defaults, self._collections = schema.defaults, list(schema.collections)

    @property
    def unused(self) -> bool:
        """Whether it can be closed: no members, no joins in progress, nothing left to write."""
        settled = self.visits is None or self.visits.settled
        settled = settled and (self.saver is None or self.saver.idle)
        members = len(self.fanout) + self._holders
        return not members and self.mutations.idle.is_set() and settled

    @property
    def audience(self) -> int:
        """How many members the room has, on all workers, as far as known here."""
        if self._elsewhere:
            now = asyncio.get_running_loop().time()
            self._elsewhere = {k: each for k, each in self._elsewhere.items() if each[1] > now}
        return len(self.fanout) + sum(members for members, _ in self._elsewhere.values())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep it open for the block."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    async def open(self) -> None:
        """Load the room. Raises StoreError, and what its hooks raise."""
        await self.follower.open()

    async def close(self) -> None:
        """Stop following the room."""
        self.closed = True
        self._notify()
        await self.mutations.close()
        if self.saver is not None:
            await self.saver.close()
        await self.follower.close()
        self._newest.reset()
        self._newest.refresh()
        self._snapshot = None

    async def catch_up(self, version: int, tag: bytes | None) -> None:
        """Have at least the state that a client was shown. Raises StoreError."""
        with self.held():
            await self.follower.catch_up(version, tag)

    def join(self, seat: Seat, writer: Writer, tag: bytes | None, version: int = 0) -> int:
        """Bring a member up to date, from the commit with `tag` on if that is still kept.

        Returns the bytes that this takes.
        """
        newest = self.position.version
        version = min(version, newest) if version or writer not in self._seats else newest
        self._seats[writer] = seat
        self.fanout.add(writer)
        missed = None if tag is None else self.follower.replica.missed(tag)
        frames = self._state_frames(version) if missed is None else missed
        for data in grouped([*frames, self._joined(seat.access)]):
            writer.write(data)
        return sum(map(len, frames))

    def tell_access(self, writer: Writer, access: Access) -> None:
        """Tell a member what it may do by now."""
        self.fanout.flush()
        writer.write(self._joined(access))

    def leave(self, writer: Writer) -> None:
        """Send a member nothing more."""
        self._seats.pop(writer, None)
        self.fanout.remove(writer)

    @property
    def position(self) -> Position:
        """The version and tag of the replica."""
        replica = self.follower.replica
        return Position(replica.version, replica.tag)

    def frames_since(self, shown: Position) -> Sequence[bytes]:
        """What brings a client up to date: commits, or a state if that is smaller."""
        self.fanout.flush()
        replica = self.follower.replica
        missed = replica.missed(shown.tag)
        if missed is None or sum(map(len, missed)) > replica.content.size:
            return self._state_frames(shown.version)
        return missed

    def _state_frames(self, version: int) -> list[bytes]:
        """The state as a SNAPSHOT that is not older than `version`, and commits that follow it.

        In a large room it is encoded again only after much has changed, so that those who join,
        and those who read slowly, have few different ones in memory.
        """
        replica, kept = self.follower.replica, self._snapshot
        if kept is not None and kept.at.version >= version:
            since = replica.missed(kept.at.tag)
            if since is not None and sum(map(len, since)) <= REUSE * kept.size:
                return [*kept.frames, *since]
        at = self.position
        frames = fragmented(wire.snapshot(self.room.name, *at, replica.shown))
        self._snapshot = Picture(at, frames, sum(map(len, frames)))
        return frames

    def visited_by(self) -> set[str]:
        """The workers that have visits."""
        return self.visits.workers(self.follower.replica) if self.visits else set()

    async def review_visits(self, expired: Collection[str]) -> None:
        """End visits to workers whose lease has expired. Raises StoreError."""
        if self.visits is None:
            return
        gone = self.visited_by().intersection(expired)
        if not gone and not self.visits.unchecked:
            self.visits.check_own(self.follower.replica)
        else:
            stored = await self._store.load(self.key) or ABSENT  # if it was deleted meanwhile
            self.visits.review(gone if stored.version else (), stored.fields)

    # For the follower

    def advanced(self, frame: bytes) -> None:
        replica = self.follower.replica
        self.fanout.send(frame, position=self.position)  # soon: with the ACK, and after it
        self.mutations.published(replica.tag, replica.version)
        self._notify()

    def replaced(self) -> None:
        self._snapshot = None  # maybe of a chain that the store lost
        self._newest.reset()
        self._notify()
        if self.visits:
            self.visits.recheck()
        if len(self.fanout):
            frames = self._state_frames(self.position.version)
            self.fanout.send(*frames, position=self.position)

    def happened(self, frame: bytes) -> None:
        self.fanout.send(frame)

    def noticed(self, notice: wire.Notice) -> None:
        self.notices += 1  # so that `authorize` is called again for joins in progress
        for seat in list(self._seats.values()):
            member = seat.member
            if notice.user in (None, member.user) and notice.member in (None, member.id):
                if notice.kind == wire.KICK:
                    seat.kick()
                else:
                    seat.reauthorize()

    def counted(self, crowd: wire.Crowd) -> None:
        if crowd.worker != self._worker:
            until = asyncio.get_running_loop().time() + REMEMBERED
            self._elsewhere[crowd.worker] = (crowd.members, until)

    def outdated(self) -> None:
        for seat in list(self._seats.values()):
            seat.restart()

    def _committed(self, patch: wire.Patch, message: bytes) -> None:
        self.follower.follow(patch, message)
        if patch.parent == NO_TAG:
            self._created(self.key)
        if self.saver is not None:
            self.saver.committed(patch.version)

    def _joined(self, access: Access) -> bytes:
        replica, rest = self.follower.replica, (self._collections, access.value)
        at = (self.room.name, replica.version, replica.tag)
        return framed(wire.joined(*at, self._defaults, rest))

    def _notify(self) -> None:
        for listener in list(self.listeners):
            listener()
