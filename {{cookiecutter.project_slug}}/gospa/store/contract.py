"""The contract of a state store: versioned maps, one per room, changed by atomic commits.

`gospa/store/__init__.py` has an overview of the chain of commits.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

TAG_BYTES = 8
NO_TAG = bytes(TAG_BYTES)  # the parent of a room's first commit
MAX_REFUSED = 128  # refused numbers kept of a client: more than it may have under way
MAX_MUTATION = 2**53 - 1  # the largest integer that Lua and JavaScript count exactly


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A room's whole state; `fields` maps keys to encoded values."""

    version: int
    tag: bytes
    fields: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Numbered:
    """A client's mutation. It is applied only if `number` is above the client's last one.

    `refused` are lower numbers that were not applied, in case the client repeats them because it
    did not get the answer.
    """

    client: bytes
    number: int
    refused: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit changes, and under which conditions.

    `exists`: whether the writer believes that the room is stored. `expect`: the keys that it read,
    with the value it saw, None where there was none. `expect_tag`: if given, the tag that the room
    must still have. `message`: what to publish, in two parts; `splice` puts version and parent
    between them. `mutations`: one of each client concerned; if one of them was applied or refused
    before, nothing is written. `attempt`: conflicts of this write so far, so that a store with
    many writers can let it through in the end.

    A change that writes nothing is a question: whether the conditions hold, and whether one of its
    mutations was applied or refused before.
    """

    tag: bytes
    exists: bool
    message: tuple[bytes, bytes]
    set: Mapping[str, bytes] = field(default_factory=dict)
    delete: Sequence[str] = ()
    expect: Mapping[str, bytes | None] = field(default_factory=dict)
    expect_tag: bytes | None = None
    mutations: Sequence[Numbered] = ()
    attempt: int = 0

    def __bool__(self) -> bool:
        return bool(self.set or self.delete)


@dataclass(frozen=True, slots=True)
class Commit:
    """The change is stored, on top of `parent`; empty bytes if that is unknown.

    `repeated`: one of its mutations had been applied in this version; nothing was written.
    """

    version: int
    parent: bytes = NO_TAG
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another writer came first; nothing was written. The room as it is now, None if gone."""

    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True)
class Refused:
    """One of the change's mutations had been refused before; nothing was written."""


class StateStore(Protocol):
    """Versioned maps, one per room. Every method raises StoreError if the store fails."""

    async def load(self, room: str) -> Snapshot | None:
        """The room as stored, or None. Keeps it from expiring."""

    async def commit(self, room: str, change: Change) -> Commit | Conflict | Refused:
        """Check, write, count the version up and publish on `channel(room)`, as one atomic step.

        A change that writes nothing leaves version and tag as they are; its Commit has them. A
        numbered change whose answer was lost can be repeated safely. The message may be as large as
        a room (`GOSPA_ROOM_SIZE`).
        """

    async def latest_tags(self, rooms: Sequence[str]) -> dict[str, bytes]:
        """The tag of each room's last commit, NO_TAG without one. Keeps rooms from expiring.

        Rooms on a failing node are left out. Raises StoreError if that is all of them.
        """

    async def hold_lease(self, lease: str, ttl: float) -> None:
        """Hold a lease for `ttl` seconds from now, by the store's clock."""

    async def expired_leases(self, leases: Sequence[str]) -> list[str]:
        """The leases among these that have expired."""

    def names(self) -> AsyncIterator[str]:
        """The names of all rooms, in no order. One that comes or goes meanwhile may be missing."""

    async def delete(self, room: str) -> None:
        """Delete the room, and publish an empty message so that replicas notice."""


def channel(room: str) -> str:
    """The channel on which a room's frames are published.

    Braces keep a room's keys and channel in one slot of a cluster:
    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    return f"{{{room}}}"


def splice(parts: tuple[bytes, bytes], version: int, parent: bytes) -> bytes:
    """The message to publish: version as msgpack uint 64, parent as bin 8, between the parts."""
    before, after = parts
    return b"".join((before, b"\xcf", version.to_bytes(8), b"\xc4\x08", parent, after))
