"""Who is in a room: a list of which each worker keeps the entries of its own members true.

The list is a room as well, named after the other with `#members`, so it reaches browsers as every
state does. An entry names the worker that answers for it. Workers hold leases, which end by the
store's clock: where one has ended, the others remove that worker's entries.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from gospa.live import wire
from gospa.live.mutations import Lane, Mutation, MutationQueue
from gospa.room import Invalid, Room, UnknownRoom
from gospa.sessions.session import Session
from gospa.store.codec import pack, unpack_fields
from gospa.store.contract import StateStore
from gospa.store.draft import Draft

SUFFIX = "#members"  # of a room's name; no other name has this sign
LEASE = 9.0  # seconds
REVIEW = 3.0  # seconds between looks at leases and lists
MAX_DETAILS = 1024  # bytes that a member may tell of itself


def member_id(client: bytes) -> str:
    """The name under which others see a client; it stays the same when the client reconnects.

    A digest, because who knows the client's own id could speak for it.
    """
    return hashlib.sha256(client).hexdigest()[:16]


class Members(Room):
    """The list of who is in a room. Whoever may enter the room may join it, and is in it then.

    Raises UnknownRoom for a room that keeps none.
    """

    pattern = f"<room>{SUFFIX}"

    def __init__(self, room: Room) -> None:
        if not room.presence:
            raise UnknownRoom(f"{room.name} does not tell who is in it")
        super().__init__(room.name + SUFFIX, room.params)
        self._room = room

    async def authorize(self, session: Session) -> bool:
        return await self._room.authorize(session)


class Attendance:
    """This worker's part of a list: the members that are here, and what the list owes them."""

    def __init__(
        self, worker: str, mutations: MutationQueue, listed: Callable[[], Mapping[str, bytes]]
    ) -> None:
        self._worker = worker
        self._mutations = mutations
        self._listed = listed
        self._here: dict[str, dict[object, Any]] = {}  # details by connection, the newest last
        self._owed: dict[str, str] = {}  # members to list if here, else to remove from a worker
        self._correcting = False

    @property
    def settled(self) -> bool:
        """Whether nothing has to be corrected, as far as this worker knows."""
        return not self._owed and not self._correcting

    def enter(self, member: str, connection: object, details: Any) -> None:
        """List a member, or tell something else of it. Raises Invalid."""
        if len(pack(details)) > MAX_DETAILS:
            raise Invalid(f"a member's details have at most {MAX_DETAILS} bytes")
        connections = self._here.setdefault(member, {})
        connections.pop(connection, None)
        connections[connection] = details
        self._owe({member: self._worker})

    def leave(self, member: str, connection: object) -> None:
        """Remove a member, unless it is still here over another connection."""
        connections = self._here.get(member, {})
        if connections.pop(connection, self) is self:
            return
        if not connections:
            del self._here[member]
        self._owe({member: self._worker})

    def workers(self) -> dict[str, str]:
        """The worker of each member in the list."""
        return {m: entry["worker"] for m, entry in unpack_fields(self._listed()).items()}

    def review(self, lapsed: Collection[str]) -> None:
        """Compare the list with who is here; remove members of workers without a lease."""
        listed = self.workers()
        gone = {
            member: worker
            for member, worker in listed.items()
            if worker in lapsed or (worker == self._worker and member not in self._here)
        }
        missing = {member: self._worker for member in self._here if member not in listed}
        self._owe(gone | missing)

    def _owe(self, owed: Mapping[str, str]) -> None:
        self._owed.update(owed)
        if self._owed and not self._correcting:
            self._correcting = True
            now, self._owed = self._owed, {}
            write, done = partial(self._write, now), partial(self._corrected, now)
            self._mutations.submit(Mutation(b"", 0, Lane(), write, done))

    def _write(self, owed: Mapping[str, str], draft: Draft) -> None:
        for member, worker in owed.items():
            if connections := self._here.get(member):
                *_, details = connections.values()
                draft[member] = {"worker": self._worker, "pid": os.getpid(), "details": details}
            elif (entry := draft.get(member)) and entry["worker"] == worker:
                del draft[member]

    def _corrected(self, owed: Mapping[str, str], answer: bytes) -> None:
        self._correcting = False
        if wire.is_ack(answer):
            self._owe({})  # what came meanwhile
        else:  # with the next review
            self._owed = {**owed, **self._owed}


async def review(store: StateStore, worker: str, attendances: Sequence[Attendance]) -> None:
    """Renew this worker's lease, and correct the lists. Raises StoreError."""
    await store.renew(worker, LEASE)
    others = {other for each in attendances for other in each.workers().values()} - {worker}
    lapsed = await store.lapsed(sorted(others))
    for each in attendances:
        each.review(lapsed)
