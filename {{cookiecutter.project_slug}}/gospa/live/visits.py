"""Visits: who is in a room whose class has `joined` or `left`, so that each runs once per visit.

A visit is kept in the room's state, under `%visits/<member>`, which is not published: who the
member is, and the worker that it is connected to. `$workers/<worker>` says that a worker has
visits, about how many. Each worker holds a lease in the store. A member who is back within LEASE
continues the visit, on any worker. Visits of a worker whose lease has expired, by the store's
clock, are ended by the others.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sanic.log import logger

from gospa.action import finish
from gospa.live.batch import Mutation
from gospa.live.mutations import MutationQueue
from gospa.live.replica import Replica
from gospa.live.sequence import Applied, Outcome
from gospa.live.visit_records import NOWHERE, VISITS, WORKERS, End, listed, read
from gospa.member import Member
from gospa.room import Room
from gospa.settings import LEASE
from gospa.state import State
from gospa.stats import STATS
from gospa.store.codec import encode
from gospa.store.draft import Draft, require_size
from gospa.store.schema import require_version

PER_MEMBER = 0.00025  # seconds, for each member, in which visits are gathered for one commit,
LONGEST = 1.0  # at most: each commit is sent to all of them
SPACE = 4096  # bytes, without which a room is full: else a hook that needs more is at fault
RESERVED = 8192  # bytes of a room that visits leave, for what is written about workers
UNLISTED = "unlisted"


class _RoomFull(Exception):
    """There is no space for a visit."""


class Client(Protocol):
    """The connection that a seat is of."""

    def tell(self, room: str, code: str, text: str) -> None:
        """Send the client an error that concerns its membership."""


@dataclass(frozen=True, slots=True)
class _Written:
    """The outcome of a commit of visits; `told`: texts for members, `failed`: errors of hooks."""

    count: int
    told: Mapping[str, str]
    failed: Mapping[str, Exception]


class Seat(Protocol):
    """A client's place in the room."""

    member: Member

    @property
    def client(self) -> Client:
        """The connection that it is of."""


def has_hooks(kind: type[Room[Any]]) -> bool:
    """Whether visits to rooms of a kind have to be kept."""
    return kind.joined is not Room.joined or kind.left is not Room.left


class Visits:
    """The visits to a room by clients of this worker, and the ends of others that it noticed."""

    def __init__(
        self, room: Room[Any], mutations: MutationQueue, worker: str, limit: float
    ) -> None:
        """`limit`: the bytes that the room may take."""
        self._room, self._mutations, self._worker = room, mutations, worker
        self._limit = limit - min(RESERVED, limit / 16)
        self._here: dict[str, dict[Client, Member]] = {}  # by connection, the newest last
        self._away: dict[str, float] = {}  # the time until which a member may return
        self._dead: set[str] = set()  # workers without a lease whose visits are being ended
        self._due: dict[str, End | None] = {}  # changes to be written: None for a member here
        self._failed: set[str] = set()  # members whose hook failed; retried when they return
        self._excess: set[str] = set()  # those of them for whom the room has no space left
        self._warned = False
        self._writing = self._reviewed = False
        self.unchecked = False  # a dead worker may have begun a visit while its others were ended
        self._next = 0.0  # when the next commit may be made
        self._timer: asyncio.TimerHandle | None = None

    @property
    def settled(self) -> bool:
        """Whether all visits of this worker, and those it found, are over and written."""
        open_ = self._here or self._away or self._due or self._writing or self.unchecked
        return self._reviewed and not open_

    def enter(self, seat: Seat) -> None:
        """A client has joined the room, or said something else of itself."""
        connections = self._here.setdefault(seat.member.id, {})
        connections.pop(seat.client, None)
        connections[seat.client] = seat.member
        self._away.pop(seat.member.id, None)
        self._failed.discard(seat.member.id)
        self._due[seat.member.id] = None
        self._flush()

    def leave(self, seat: Seat, *, orderly: bool) -> None:
        """A client has left the room, or lost its connection."""
        id = seat.member.id
        connections = self._here.get(id, {})
        connections.pop(seat.client, None)
        if id not in self._here or connections:
            return
        del self._here[id]
        self._failed.discard(id)
        self._due.pop(id, None)
        if orderly:
            self._due[id] = End(self._worker)
            self._flush()
        else:
            self._away[id] = asyncio.get_running_loop().time() + LEASE

    def tick(self) -> None:
        """End the visits of those who were away too long, and try again what failed."""
        now = asyncio.get_running_loop().time()
        for id in [id for id, until in self._away.items() if until <= now]:
            del self._away[id]
            self._due[id] = End(self._worker)
        self._flush()

    def workers(self, replica: Replica) -> set[str]:
        """The workers that have visits."""
        return set(replica.content.ids(WORKERS))

    def recheck(self) -> None:
        """Begin again the visits that the store may have lost."""
        self._due.update(dict.fromkeys(self._here.keys() - self._failed - self._due.keys()))
        self._flush()

    def review(self, expired: Collection[str], stored: Mapping[str, bytes]) -> None:
        """End the visits to workers whose lease has expired; `stored` are the room's fields."""
        here = self._here.keys() | self._failed
        mine = here | self._away.keys() | self._due.keys()
        for id, worker in listed(stored).items():
            own = worker in (self._worker, NOWHERE)
            dead = not own and (worker in expired or f"{WORKERS}/{worker}" not in stored)
            # Who was here before, and last at a worker that died, is not about to come back here.
            if (own and id not in mine) or (dead and id not in here):
                self._due[id] = End(worker)
        self._dead.update(expired)
        self._reviewed, self.unchecked = True, False
        self._flush()

    def check_own(self, replica: Replica) -> None:
        """Begin this worker's visits again if another worker has ended them."""
        if self._writing:
            return  # the replica lacks this commit: the next review checks again
        self._reviewed = True
        if self._excess and replica.content.size < self._limit:
            self._try_excess()
        if self._worker not in self.workers(replica):
            self.recheck()

    def _flush(self) -> None:
        """Write what is due: one commit at a time, and rarely where each goes to many."""
        loop = asyncio.get_running_loop()
        if not (self._due or self._dead) or self._writing or self._timer:
            return
        if (wait := self._next - loop.time()) > 0:
            self._timer = loop.call_later(wait, self._flush_later)
            return
        due, self._due, self._writing = self._due, {}, True
        dead, self._dead = self._dead, set()
        write, done = partial(self._write, due, dead), partial(self._written, due, dead)
        self._mutations.submit(Mutation(None, 0, write, done, name="visits", visit=True))

    def _flush_later(self) -> None:
        self._timer = None
        self._flush()

    def _write(self, due: Mapping[str, End | None], dead: set[str], draft: Draft) -> _Written:
        """End and begin visits. A member for whom that fails is left out, and nobody else."""
        require_version(draft, self._room.version, self._room.name)
        if draft.get(f"{WORKERS}/{self._worker}") is None:  # others ended its visits, if it had any
            others = self._here.keys() - due.keys() - self._due.keys() - self._failed
            due = {**due, **dict.fromkeys(others)}
        told, failed = dict[str, str](), dict[str, Exception]()
        for id, end in sorted(due.items(), key=lambda each: each[1] is None):  # ends make space
            try:
                text = draft.attempt(partial(self._change, id, end))
            except Exception as error:  # noqa: BLE001 - logged once it is certain
                failed[id] = error
            else:
                if text:
                    told[id] = text
        return _Written(self._count(dead, draft), told, failed)

    def _change(self, id: str, end: End | None, draft: Draft) -> str | None:
        """Begin or end one visit; returns what the member is told."""
        size, state = draft.size, self._room.state.of(draft)
        text = None
        if end is None:
            text = self._begin(id, draft, state)
        else:
            self._end(id, end, draft, state)
        finish(self._room, state)
        if draft.size > max(self._limit, size) and size + SPACE > self._limit:
            raise _RoomFull
        require_size(draft, max(self._limit, size))
        return text

    def _begin(self, id: str, draft: Draft, state: State) -> str | None:
        connections = self._here.get(id)
        if not connections:
            return None
        *_, member = connections.values()
        key = f"{VISITS}/{id}"
        before, who = draft.get(key), [member.user, dict(member.info), member.claims]
        now = encode([self._worker, *who])  # checked when the member joined
        if before != now:
            draft.set(key, now)
        visitor = before and read(id, before).member
        if not visitor:
            return self._room.joined(state, member)
        if visitor.user != member.user:  # the client is that of another user by now
            self._room.left(state, visitor)
            return self._room.joined(state, member)
        if [visitor.user, visitor.info, visitor.claims] != who:
            self._room.updated(state, member)
        return None

    def _end(self, id: str, end: End, draft: Draft, state: State) -> None:
        before = draft.get(f"{VISITS}/{id}")
        visit = None if before is None else read(id, before)
        if id in self._here or visit is None or visit.worker not in (end.worker, NOWHERE):
            return
        draft.discard(f"{VISITS}/{id}")
        self._room.left(state, visit.member)

    def _count(self, dead: set[str], draft: Draft) -> int:
        """Say whether this worker has visits; returns how many there are in all, about."""
        mine = len(self._here) + len(self._away)
        mine += sum(end is not None and end.worker == self._worker for end in self._due.values())
        own, rounded = f"{WORKERS}/{self._worker}", encode(1 << mine.bit_length())
        for worker in dead:
            draft.discard(f"{WORKERS}/{worker}")
        if mine and draft.get(own) != rounded:
            draft.set(own, rounded)
        elif not mine and draft.get(own) is not None:
            draft.discard(own)
        return mine * draft.known(WORKERS)

    def _written(self, due: dict[str, End | None], dead: set[str], outcome: Outcome) -> None:
        self._writing = False
        if not isinstance(outcome, Applied):
            self._due, self._dead = {**due, **self._due}, self._dead | dead
            return  # with the next tick
        self.unchecked |= bool(dead)
        written: _Written = outcome.result
        wait = min(PER_MEMBER * written.count, LONGEST)
        self._next = asyncio.get_running_loop().time() + wait
        for id, text in written.told.items():
            self._tell(id, text)
        self._failed -= due.keys() - written.failed.keys()
        self._fail(written.failed)
        if any(due.values()):
            self._try_excess()
        self._flush()  # what became due meanwhile

    def _fail(self, failed: Mapping[str, Exception]) -> None:
        full = {id for id, error in failed.items() if isinstance(error, _RoomFull)}
        for id in full & self._here.keys():
            self._excess.add(id)
            if id not in self._failed:
                self._tell(id, "the room has no space left: your visit is not recorded")
        if others := [(id, error) for id, error in failed.items() if id not in full]:
            text = "a hook of room %s failed for %d members, such as %s"
            id, error = others[0]
            logger.error(text, self._room.name, len(others), id, exc_info=error)
        self._failed.update(failed)

    def _try_excess(self) -> None:
        """Begin the visits for which there may be space by now."""
        trying, self._excess = self._excess & self._failed & self._here.keys(), set()
        self._due.update(dict.fromkeys(trying - self._due.keys()))
        self._flush()

    def _tell(self, id: str, text: str) -> None:
        """Tell a member that others do not see it."""
        STATS.unlisted += 1
        if not self._warned:
            self._warned = True
            logger.warning("room %s: some members are not listed: %s", self._room.name, text)
        for client in list(self._here.get(id, {})):
            client.tell(self._room.name, UNLISTED, text)
