"""The contract of a state store: versioned maps, one per room, changed by atomic commits.

`gospa/store/__init__.py` has an overview of the chain of commits.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gospa.rates import Visitor
from gospa.settings import Settings
from gospa.store.alarms import AlarmIndex

TAG_BYTES = 8
NO_TAG = bytes(TAG_BYTES)  # the parent of a room's first commit
USER = "user:"  # begins the owner of a room of a user, and no session's identity
NO_MESSAGE = (b"", b"")
MAX_REFUSED = 512  # refused numbers kept of a source: more than a client may have under way
MAX_MUTATION = 2**53 - 1  # the largest integer that Lua and JavaScript count exactly


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A room's whole state: encoded values by key, and the epoch of each collection.

    `gospa.store.content` says what keys and epochs are.
    """

    version: int
    tag: bytes
    fields: Mapping[str, bytes]
    epochs: Mapping[str, bytes] = field(default_factory=dict)


ABSENT = Snapshot(0, NO_TAG, {})  # the state of a room that is not stored


@dataclass(frozen=True, slots=True)
class Numbered:
    """The mutations of one source in a change: those with the numbers `first` to `last`.

    A source numbers its mutations upwards: a client in its session, or an idempotency key, which
    has one. They are applied only if `first` is above the last number recorded. `refused` are lower
    numbers that were not applied, in case the source repeats them because it did not get the
    answer; `last` may be among them. The record is kept for `ttl` seconds; with 0, the numbers are
    compared with the record, and not recorded. `visitor` is whose mutations they are, and `grown`
    the bytes by which they make the room larger, for a store that gives each visitor a share.
    """

    source: str
    first: int
    last: int
    ttl: float
    refused: Sequence[int] = ()
    visitor: Visitor | None = None
    grown: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """What a store knows of a source: its last mutation, and those before it that were refused.

    `version` and `tag` are those of the last mutation's commit.
    """

    last: int = 0
    version: int = 0
    tag: bytes = NO_TAG
    refused: tuple[int, ...] = ()

    def after(self, mutations: Numbered, version: int, tag: bytes) -> "Record":
        """The record once `mutations` are in a commit."""
        # Another connection may have applied the numbers up to `last` that this one gave up.
        later = [number for number in mutations.refused if number > self.last]
        refused = (*self.refused, *later)[-MAX_REFUSED:]
        return Record(mutations.last, version, tag, refused)


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit changes, and under which conditions.

    `exists`: whether the writer believes that the room is stored. `expect`: the keys that it read,
    with the value it saw, None where there was none. `expect_epochs`: the collections whose ids it
    read, with their epoch. `expect_tag`: if given, the tag that the room must still have.
    `message`: what to publish, in two parts; `splice` puts version and parent between them.
    `mutations`: one of each source concerned; if the store knows one of these numbers already,
    nothing is written. `attempt`: conflicts of this write so far, so that a store with many
    writers can let it through in the end. `clocked`: the version is above the store's clock, in
    microseconds, so that it is above those of an earlier room of this name, and of commits that the
    store has lost.

    `visit`: hooks or `load` made it. A room that has only such changes is kept for `visited_ttl`
    from its last visit on; once it has no values, it is deleted.

    A change that sets and deletes nothing is a question: whether the conditions hold, and which of
    its mutations the store knows. If they do, the numbers are recorded all the same.
    """

    tag: bytes
    exists: bool
    message: tuple[bytes, bytes]
    set: Mapping[str, bytes] = field(default_factory=dict)
    delete: Sequence[str] = ()
    expect: Mapping[str, bytes | None] = field(default_factory=dict)
    expect_epochs: Mapping[str, bytes] = field(default_factory=dict)
    expect_tag: bytes | None = None
    mutations: Sequence[Numbered] = ()
    attempt: int = 0
    clocked: bool = False
    visit: bool = False

    def __bool__(self) -> bool:
        return bool(self.set or self.delete)


@dataclass(frozen=True, slots=True)
class Commit:
    """The change is stored, on top of `parent`."""

    version: int
    parent: bytes = NO_TAG


@dataclass(frozen=True, slots=True)
class Known:
    """Some of the mutations were applied or refused before; nothing was written.

    `records`: those of the sources concerned.
    """

    records: Mapping[str, Record]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another writer came first; nothing was written.

    `values`: what the keys in `expect` have by now, of those that differ; None where there is none.
    """

    values: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Moved:
    """Another writer came first, and the values of keys do not say how; nothing was written.

    The room came or went, or the ids of a collection did, or the change depended on all of it.

    `snapshot`: the room as it is now, None if it is gone.
    """

    snapshot: Snapshot | None


Outcome = Commit | Known | Conflict | Moved


class StateStore(Protocol):
    """Versioned maps, one per room. Every method raises StoreError if the store fails.

    A room is kept until its alarm (`gospa.store.alarms.ALARM`), and as long after that as others.
    """

    @property
    def alarms(self) -> AlarmIndex:
        """Which rooms are to be woken when."""

    async def load(self, room: str, *, renew: bool = True) -> Snapshot | None:
        """The room as stored, or None. Keeps it from expiring, if `renew`."""

    async def commit(self, room: str, change: Change) -> Outcome:
        """Check, write, count the version up and publish on `channel(room)`, as one atomic step.

        A change that writes nothing leaves version and tag as they are; its Commit has them. The
        message may be as large as a room (`GOSPA_ROOM_SIZE`).

        Raises StoreUnavailable if the change may have been written, or may be written later; a
        numbered one can be repeated with a new tag. After any other StoreError, nothing is written.
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
        """The names of all rooms, in no order.

        One may come twice; one that is stored or deleted meanwhile may be missing.
        """

    def damaged(self) -> AsyncIterator[tuple[str, str]]:
        """Records that cannot be read besides those that `names` has: each key, and the reason.

        One may come twice. This changes nothing.
        """

    async def delete(self, room: str) -> None:
        """Delete the room, and publish an empty message so that replicas notice."""


def session_of(room: str) -> str:
    """The identity of the session whose own room it is, which is deleted with it; "" for others."""
    owner = room.partition("@")[2].partition("#")[0]
    return "" if owner.startswith(USER) else owner


def lifetime(room: str, settings: Settings) -> float:
    """The seconds for which a room is kept that is neither changed nor visited."""
    own = bool(session_of(room))
    return min(settings.room_ttl, settings.session_idle) if own else settings.room_ttl


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
