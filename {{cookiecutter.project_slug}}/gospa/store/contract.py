"""What a state store is: versioned maps, one per room, changed by atomic commits.

Values are msgpack bytes throughout (see `codec`), so that nothing is encoded twice. Each commit
has a version, one above its parent's, and a random 8-byte tag. It names its parent's tag: a
version alone cannot tell a chain that was rolled back and counted on from the one it replaced.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

TAG_BYTES = 8
NO_TAG = bytes(TAG_BYTES)  # the parent of a room's first commit
MAX_REFUSED = 128  # mutations remembered of a client: more than it may have under way
MAX_MUTATION = 2**53 - 1  # the largest integer that Lua and JavaScript count exactly


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A room's whole state; `fields` maps keys to encoded values."""

    version: int
    tag: bytes
    fields: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Numbered:
    """A client's mutation: not applied again if `number` is not above the client's last one.

    `refused` are numbers below it that were not applied, in case the client did not hear so and
    repeats them.
    """

    client: bytes
    number: int
    refused: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit is to do, and under which conditions.

    `exists` is whether the writer believes that the room is stored. `expect` maps keys that the
    writer read to the value it saw, None where there was none. `expect_tag`, where given, is the
    tag the room must still have. `message` is what to publish, in two parts between which `splice`
    puts version and parent. `mutations` are what it does, each of another client; if one
    was done or refused before, nothing is written. `attempt` is how often this write lost against
    others before: a store with many writers has to let it through in the end.
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


@dataclass(frozen=True, slots=True)
class Commit:
    """The change is in the store, on top of `parent`.

    `repeated`: a mutation of it was there before, in this version; `parent` is then unknown.
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
    """A mutation of it was refused before, under its number; nothing was written."""


class StateStore(Protocol):
    """Versioned maps, one per room. Every method raises StoreError if the store fails."""

    async def load(self, room: str) -> Snapshot | None:
        """The room as stored, or None. Keeps it from expiring."""

    async def commit(self, room: str, change: Change) -> Commit | Conflict | Refused:
        """Check, write, count up and publish on `channel(room)`, as one step.

        To repeat a numbered change whose answer was lost is safe.
        """

    async def latest_tags(self, rooms: Sequence[str]) -> dict[str, bytes]:
        """The tag of each room's last commit, NO_TAG without one. Keeps rooms from expiring.

        Those of which the store cannot tell are left out; if that is all of them, it fails.
        """

    async def hold_lease(self, lease: str, ttl: float) -> None:
        """Hold a lease for `ttl` seconds from now, by the store's clock."""

    async def expired_leases(self, leases: Sequence[str]) -> list[str]:
        """Those of the leases that nobody holds."""

    def names(self) -> AsyncIterator[str]:
        """All rooms there are, in no order; one that comes or goes meanwhile may be left out."""

    async def delete(self, room: str) -> None:
        """Forget the room, and publish an empty message so that replicas notice."""


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
