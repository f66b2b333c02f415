"""Lists the members of a room, as the state of a second room named `<room>#members`.

So clients receive the list, and resume it, like any other state. A room lists each tab, or with
`presence = "people"` each user once, with the count of the user's tabs; visitors without a log-in
are listed by tab.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from sanic import Sanic

from gospa import Access, Items, Member, Room, Session, State, UnknownRoom

LONGEST = 100  # characters of a user's name that is used as the id of an item
SUFFIX = "#members"  # no other room's name has this character


class Person(Struct):
    """A member of a room. `claims` is sent by the client, and not verified."""

    user: str | None
    info: dict[str, Any]
    claims: Any = None
    tabs: int = 1


class MembersState(State):
    """`people` has the first `GOSPA_PRESENCE_SIZE` of them, `count` is the number of all tabs."""

    count: int = 0
    people: Items[Person] = Items()


def install(app: Sanic) -> None:
    """Keep lists for all rooms whose class sets `presence`."""
    app.ctx.router.derive(SUFFIX, Members)


class Members(Room[MembersState]):
    """The list of a room's members. A client that joins it is added to it.

    Raises UnknownRoom for a room without a list.
    """

    pattern = f"<room>{SUFFIX}"

    def __init__(self, room: Room[Any]) -> None:
        if not room.presence:
            raise UnknownRoom(f"{room.name} keeps no list of members")
        super().__init__(room.name + SUFFIX, room.params)
        self._room = room

    async def authorize(self, session: Session) -> Access:
        return await self._room.authorize(session)

    def introduce(self, session: Session) -> Mapping[str, Any]:
        return self._room.introduce(session)

    def joined(self, state: MembersState, member: Member) -> str | None:
        state.count += 1
        key, limit = self._key(member), self.app.ctx.settings.presence_size
        if key in state.people:
            state.people[key].tabs += 1
        elif len(state.people) < limit:
            state.people[key] = self._person(member)
        else:
            return f"the list shows {limit} members: you are counted, but not shown"
        return None

    def updated(self, state: MembersState, member: Member) -> None:
        key = self._key(member)
        if key in state.people:
            state.people[key] = self._person(member, state.people[key].tabs)

    def left(self, state: MembersState, member: Member) -> None:
        state.count -= 1
        if not state.count:
            del state.count  # so that an empty list stores nothing
        key = self._key(member)
        if key in state.people:
            state.people[key].tabs -= 1
            if not state.people[key].tabs:
                del state.people[key]

    def _key(self, member: Member) -> str:
        if self._room.presence != "people" or member.user is None:
            return member.id
        digest = hashlib.sha256(member.user.encode()).hexdigest()
        # A user's name may be longer than an item's id.
        return f"user:{member.user}" if len(member.user) <= LONGEST else f"long:{digest}"

    @staticmethod
    def _person(member: Member, tabs: int = 1) -> Person:
        return Person(member.user, dict(member.info), member.claims, tabs)
