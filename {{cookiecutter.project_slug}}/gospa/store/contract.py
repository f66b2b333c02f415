"""The contract of a state store: versioned maps, one per room, changed by atomic commits.

`gospa/store/__init__.py` has an overview of the chain of commits.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from gospa.rates import Visitor
from gospa.settings import Settings
from gospa.store.alarms import AlarmIndex

TAG_BYTES = 8
NO_TAG = bytes(TAG_BYTES)  # the parent of a room's first commit
USER = "user:"  # begins the owner in the key of a user's room, and never a session's identity
NO_MESSAGE = (b"", b"")
MAX_REFUSED = 512  # refused numbers kept for a source: more than a client may have in flight
MAX_MUTATION = 2**53 - 1  # the largest integer that Lua and JavaScript count exactly


class Snapshot(Struct, frozen=True):
    """A room's whole state: encoded values by key, and the epoch of each collection.

    `gospa.store.content` defines keys and epochs.
    """

    version: int
    tag: bytes
    fields: Mapping[str, bytes]
    epochs: Mapping[str, bytes] = {}


ABSENT = Snapshot(0, NO_TAG, {})  # the state of a room that is not stored


class Numbered(Struct, frozen=True):
    """The mutations of one source in a change: those with the numbers `first` to `last`.

    A source is a client in its session, which numbers its mutations upwards, or an idempotency key,
    which has one mutation. They are applied only if `first` is above the last recorded number.
    `refused` are numbers up to `last` that were not applied, in case the source repeats them
    because it got no answer. The record is kept for `ttl` seconds; with 0, the numbers are compared
    with the record, and not recorded. `visitor` sent the mutations, and `grown` are the bytes by
    which they make the room larger, for a store that limits the share of each visitor.
    """

    source: str
    first: int
    last: int
    ttl: float
    refused: Sequence[int] = ()
    visitor: Visitor | None = None
    grown: int = 0


class Record(Struct, frozen=True):
    """A store's record of a source: its last mutation, and earlier ones that were refused.

    `version` and `tag` belong to the last mutation's commit.
    """

    last: int = 0
    version: int = 0
    tag: bytes = NO_TAG
    refused: tuple[int, ...] = ()

    def after(self, mutations: Numbered, version: int, tag: bytes) -> "Record":
        """The record after `mutations` were committed."""
        # Another connection may have applied numbers up to `last` that this one abandoned.
        later = [number for number in mutations.refused if number > self.last]
        refused = (*self.refused, *later)[-MAX_REFUSED:]
        return Record(mutations.last, version, tag, refused)


class Change(Struct, frozen=True):
    """The changes of one commit, and its conditions.

    `exists`: whether the writer expects that the room is stored. `expect`: the keys that it read,
    with the value it saw, None if there was none. `expect_epochs`: the collections whose ids it
    read, with their epoch. `expect_tag`: if given, the tag that the room must still have.
    `message`: the message to publish, in two parts; `splice` puts version and parent between them.
    `mutations`: one entry for each source; if the store has recorded one of the numbers, it writes
    nothing. `attempt`: conflicts of this write so far, so that a store with many writers can
    prefer it in the end. `clocked`: the version is above the store's clock, in microseconds, so
    that it is above those of an earlier room of this name, and of commits that the store has lost.
    `unnumbered`: by how much the mutations of visitors that have no source make the room larger.

    `visit`: hooks or `load` made the change. A room that has only such changes is kept for
    `visited_ttl` after its last visit; once it has no values, it is deleted.

    A change that sets and deletes nothing is a query: whether the conditions hold, and which of its
    mutations the store has recorded. If they hold, the numbers are recorded as in other changes.
    """

    tag: bytes
    exists: bool
    message: tuple[bytes, bytes]
    set: Mapping[str, bytes] = {}
    delete: Sequence[str] = ()
    expect: Mapping[str, bytes | None] = {}
    expect_epochs: Mapping[str, bytes] = {}
    expect_tag: bytes | None = None
    mutations: Sequence[Numbered] = ()
    attempt: int = 0
    clocked: bool = False
    unnumbered: Sequence[tuple[Visitor, int]] = ()
    visit: bool = False

    def __bool__(self) -> bool:
        return bool(self.set or self.delete)


class Commit(Struct, frozen=True):
    """The change is stored, on top of `parent`."""

    version: int
    parent: bytes = NO_TAG


class Known(Struct, frozen=True):
    """Some of the mutations were applied or refused before; nothing was written.

    `records`: the records of the change's sources.
    """

    records: Mapping[str, Record]


class Conflict(Struct, frozen=True):
    """Another writer came first; nothing was written.

    `values`: the current values of the keys in `expect` that differ; None if there is none.
    """

    values: Mapping[str, bytes | None] = {}


class Moved(Struct, frozen=True):
    """Another writer came first, and the change needs the whole room; nothing was written.

    The room or items of a collection were created or deleted, or the change depended on all values.

    `snapshot`: the room as it is now, None if it was deleted.
    """

    snapshot: Snapshot | None


Outcome = Commit | Known | Conflict | Moved


class StateStore(Protocol):
    """Versioned maps, one per room. Every method raises StoreError if the store fails.

    A room is kept until its alarm (`gospa.store.alarms.ALARM`), and then for its time to live.
    """

    @property
    def alarms(self) -> AlarmIndex:
        """The index of rooms by the time of their alarm."""

    async def load(self, room: str, *, renew: bool = True) -> Snapshot | None:
        """The room as stored, or None. Keeps it from expiring, if `renew`."""

    async def commit(self, room: str, change: Change) -> Outcome:
        """Check, write, count the version up and publish on `channel(room)`, as one atomic step.

        A change that writes nothing does not change version and tag; its Commit has them. The
        message may be as large as a room (`GOSPA_ROOM_SIZE`).

        Raises StoreUnavailable if the change may have been written, or may be written later; a
        change with numbers can be repeated with a new tag. After any other StoreError, nothing is
        written.
        """

    async def latest_tags(self, rooms: Sequence[str]) -> dict[str, bytes]:
        """The tag of each room's last commit, NO_TAG without one. Keeps rooms from expiring.

        Rooms on a failing node are left out. Raises StoreError if all nodes fail.
        """

    async def hold_lease(self, lease: str, ttl: float) -> None:
        """Hold a lease for `ttl` seconds from now, by the store's clock."""

    async def expired_leases(self, leases: Sequence[str]) -> list[str]:
        """The leases among these that have expired."""

    def names(self) -> AsyncIterator[str]:
        """The names of all rooms, in no order.

        A name may occur twice; a room that is stored or deleted meanwhile may be missing.
        """

    def damaged(self) -> AsyncIterator[tuple[str, str]]:
        """Unreadable records other than the rooms in `names`: each key, and the reason.

        A record may occur twice. This changes nothing.
        """

    async def delete(self, room: str) -> None:
        """Delete the room, and publish an empty message so that replicas notice."""


def session_of(room: str) -> str:
    """The identity of the session to which the room belongs; "" for other rooms."""
    owner = room.partition("@")[2].partition("#")[0]
    return "" if owner.startswith(USER) else owner


def lifetime(room: str, settings: Settings) -> float:
    """The seconds for which a room is kept after its last change or visit."""
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
