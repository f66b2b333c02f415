"""Lists who is in a room, as the state of a second room named `<room>#members`.

So the list reaches browsers and resumes like any other state. An entry names the worker that
owns it. Each worker holds a lease in the store; when a lease has expired, by the store's
clock, the other workers remove that worker's entries.

Until rooms have hooks for members that join and leave, this uses private parts of the engine:
`Room._track_members`, `Router.derive`, the hub's rooms with their mutation queues and replicas, and
the leases of the state store.
"""

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from sanic import Sanic
from sanic.log import logger

from gospa import Draft, Invalid, Room, Session, StoreError, UnknownRoom, tasks
from gospa.live.hub import Hub
from gospa.live.local_room import LocalRoom
from gospa.live.mutations import Applied, Mutation, Outcome
from gospa.store.codec import pack, unpack_fields

SUFFIX = "#members"  # no other room's name has this character
LEASE = 9.0  # seconds
REVIEW = 3.0  # seconds between reviews of leases and lists
MAX_DETAILS = 1024  # bytes of a member's details


def install(app: Sanic) -> None:
    """Keep lists for all rooms whose class says `presence = True`."""
    app.ctx.router.derive(SUFFIX, Members)

    @app.before_server_start
    async def start(app: Sanic) -> None:
        app.ctx.presence = tasks.keep_running(partial(watch, app.ctx.hub), "presence")

    @app.before_server_stop
    async def stop(app: Sanic) -> None:
        await tasks.stop(app.ctx.presence)


class Members(Room):
    """The list of a room's members. Joining it lists the member.

    Raises UnknownRoom for a room that keeps none.
    """

    pattern = f"<room>{SUFFIX}"

    def __init__(self, room: Room) -> None:
        if not room.presence:
            raise UnknownRoom(f"{room.name} keeps no list of members")
        super().__init__(room.name + SUFFIX, room.params)
        self._room = room

    async def authorize(self, session: Session) -> bool:
        return await self._room.authorize(session)

    def _track_members(self, local: LocalRoom) -> "LocalMembers":
        return LocalMembers(local)


class LocalMembers:
    """The members in this worker, and the corrections that the list still needs."""

    def __init__(self, local: LocalRoom) -> None:
        self._local = local
        self._worker = local.context.worker
        self._here: dict[str, dict[object, Any]] = {}  # details by connection, the newest last
        self._pending: dict[str, str] = {}  # members to list if here, else to remove from a worker
        self._writing = False

    @property
    def settled(self) -> bool:
        """Whether the list in the store is right, as far as this worker knows."""
        return not self._pending and not self._writing

    def enter(self, member: str, connection: object, details: Any) -> None:
        """List a member, or replace its details. Raises Invalid."""
        if len(pack(details)) > MAX_DETAILS:
            raise Invalid(f"a member's details have at most {MAX_DETAILS} bytes")
        connections = self._here.setdefault(member, {})
        connections.pop(connection, None)
        connections[connection] = details
        self._correct({member: self._worker})

    def leave(self, member: str, connection: object) -> None:
        """Remove a member, unless it is here over another connection."""
        connections = self._here.get(member, {})
        if connections.pop(connection, self) is self:
            return
        if not connections:
            del self._here[member]
        self._correct({member: self._worker})

    def workers(self) -> dict[str, str]:
        """The worker of each member in the list."""
        listed = unpack_fields(self._local.replica.snapshot.fields)
        return {member: entry["worker"] for member, entry in listed.items()}

    def review(self, expired: Collection[str]) -> None:
        """Compare the list with who is here; remove members of workers without a lease."""
        listed = self.workers()
        gone = {
            member: worker
            for member, worker in listed.items()
            if worker in expired or (worker == self._worker and member not in self._here)
        }
        missing = {member: self._worker for member in self._here if member not in listed}
        self._correct(gone | missing)

    def _correct(self, members: Mapping[str, str]) -> None:
        """Write corrections, one commit at a time."""
        self._pending.update(members)
        if self._pending and not self._writing:
            self._writing = True
            now, self._pending = self._pending, {}
            write, done = partial(self._write, now), partial(self._written, now)
            self._local.mutations.submit(Mutation(None, 0, write, done))

    def _write(self, members: Mapping[str, str], draft: Draft) -> None:
        for member, worker in members.items():
            if connections := self._here.get(member):
                *_, details = connections.values()
                draft[member] = {"worker": self._worker, "pid": os.getpid(), "details": details}
            elif (entry := draft.get(member)) and entry["worker"] == worker:
                del draft[member]

    def _written(self, members: Mapping[str, str], outcome: Outcome) -> None:
        self._writing = False
        if isinstance(outcome, Applied):
            self._correct({})  # corrections that were added meanwhile
        else:  # with the next review
            logger.debug("the list of %s is not corrected yet: %s", self._local.key, outcome)
            self._pending = {**members, **self._pending}


async def watch(hub: Hub) -> None:
    """Hold this worker's lease, and keep its lists right, until cancelled."""
    while True:
        lists = [local.members for local in hub.rooms.values()]
        try:
            await review(hub, [each for each in lists if isinstance(each, LocalMembers)])
        except StoreError as error:
            logger.warning("lists of members cannot be reviewed: %s", error)
        await asyncio.sleep(REVIEW)


async def review(hub: Hub, lists: Sequence[LocalMembers]) -> None:
    """Renew this worker's lease, and correct these lists. Raises StoreError."""
    await hub.store.hold_lease(hub.worker, LEASE)
    others = {other for each in lists for other in each.workers().values()} - {hub.worker}
    expired = await hub.store.expired_leases(sorted(others))
    for each in lists:
        each.review(expired)
