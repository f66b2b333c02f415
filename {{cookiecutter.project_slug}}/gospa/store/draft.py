"""A working copy of a room that records what was read and changed in it."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from msgspec import Struct

from gospa.store.content import Overlay, View


class Edits(Struct, frozen=True):
    """The reads and changes of a draft.

    `read`: keys with the value that was read, None without one. `epochs`: the epochs of the
    collections whose ids were read. `whole`: whether the outcome depends on the whole room.
    """

    read: Mapping[str, bytes | None]
    epochs: Mapping[str, bytes]
    whole: bool
    set: Mapping[str, bytes]
    delete: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.set or self.delete)


class StateTooLarge(ValueError):
    """A change would make a room's state larger than it may be."""


class Draft:
    """A room's encoded values, for one action to read and change.

    The commit expects the values that were read, so that the action runs again if another writer
    changed one meanwhile. It does not expect the results of `known`, `last` and `oldest`, which may
    be outdated. Setting or deleting a key that was not read is a blind write, which never
    conflicts.
    """

    __slots__ = ("_base", "_epochs", "_read", "_view")

    def __init__(self, view: View) -> None:
        self._base, self._view = view, Overlay(view)
        self._read: dict[str, bytes | None] = {}
        self._epochs: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        """The value of a key, or None."""
        if key in self._view.changes:
            return self._view.changes[key]
        raw = self._read[key] = self._base.get(key)
        return raw

    def set(self, key: str, raw: bytes) -> None:
        """Set a key."""
        self._view.put(key, raw)

    def delete(self, key: str) -> None:
        """Delete a key. If it is not known here, the commit expects it to be absent."""
        if key not in self._view.changes and self._base.get(key) is None:
            self._read[key] = None
        else:
            self._view.put(key, None)

    def discard(self, key: str) -> None:
        """Delete a key, whether it is known here or not."""
        self._view.put(key, None)

    def changes(self, key: str) -> bool:
        """Whether a key has been set here."""
        return self._view.changes.get(key) is not None

    def ids(self, collection: str) -> list[str]:
        """The ids of a collection's items, in order."""
        self._epochs[collection] = self._base.epoch(collection)
        return list(self._view.ids(collection))

    def count(self, collection: str) -> int:
        """How many items a collection has."""
        self._epochs[collection] = self._base.epoch(collection)
        return self._view.count(collection)

    def known(self, collection: str) -> int:
        """How many items a collection has as far as known."""
        return self._view.count(collection)

    def last(self, collection: str) -> str:
        """The greatest id of a collection as far as known, "" without items."""
        return self._view.last(collection)

    def oldest(self, collection: str, beyond: int) -> list[str]:
        """The least ids of a collection as far as known: those in excess of `beyond` items."""
        excess = max(self._view.count(collection) - beyond, 0)
        return list(islice(self._view.ids(collection), excess))

    def attempt(self, run: "Run") -> Any:
        """Run a function on this draft; if it raises, its changes are undone.

        Its reads are kept in any case, because its failure depends on them as well.
        """
        inner = Draft(self._view)
        try:
            result = run(inner)
        finally:
            read, changes = inner._read.items(), self._view.changes
            self._read |= {key: raw for key, raw in read if key not in changes}
            for collection in inner._epochs:
                self._epochs[collection] = self._base.epoch(collection)
        own = inner.edits()
        self._view.apply(own.set, own.delete)
        return result

    def following(self) -> "Draft":
        """A draft for another function, on the changes so far."""
        return Draft(self._view)

    def join(self, later: "Draft") -> None:
        """Take over the reads and changes of a draft that follows this one."""
        read, epochs, changes = later.recorded()
        # What was set here is not read from the store.
        self._read |= {key: raw for key, raw in read.items() if key not in self._view.changes}
        self._epochs |= epochs
        self._view.join(changes, later.size)

    def recorded(
        self,
    ) -> tuple[dict[str, bytes | None], dict[str, bytes], list[tuple[str, bytes | None]]]:
        """The reads, the epochs, and the changes so far, None for a key to delete; not a copy."""
        changes = self._view.changes.items()
        stored = [each for each in changes if each[1] is not None or self._may_be_stored(each[0])]
        return self._read, self._epochs, stored

    @property
    def size(self) -> int:
        """The bytes that the room takes, about."""
        return self._view.size

    def reads(self, *, whole: bool = False) -> Edits:
        """The reads so far, without the changes."""
        return Edits(dict(self._read), dict(self._epochs), whole, set={}, delete=())

    def edits(self) -> Edits:
        """The reads and changes so far."""
        changes = self._view.changes
        return Edits(
            read=dict(self._read),
            epochs=dict(self._epochs),
            whole=False,
            set={key: raw for key, raw in changes.items() if raw is not None},
            delete=tuple(key for key in changes if self._may_be_stored(key)),
        )

    def _may_be_stored(self, key: str) -> bool:
        """Whether a key has to be deleted in the store, also if it was a blind write."""
        return self._view.changes[key] is None and self._read.get(key, b"") is not None


def require_size(draft: Draft, limit: float) -> None:
    """Raise StateTooLarge if a room would take more bytes."""
    if draft.size > limit:
        raise StateTooLarge(f"the room would exceed its {limit} bytes: remove something first")


Run = Callable[[Draft], Any]


def run_all(
    runs: Iterable[Run], view: View, limit: float
) -> tuple[Edits, list[Any], Exception | None]:
    """Run functions one after another, each on the changes of those before it, until one fails.

    Returns their combined edits, their results, and the error of the function that failed: the
    exception that it raised, or StateTooLarge above `limit` bytes. If the first one failed, the
    edits contain only its reads.
    """
    results, first = list[Any](), Draft(view)
    for number, run in enumerate(runs):
        draft = first.following() if number else first
        try:
            before, result = draft.size, run(draft)
            require_size(draft, max(limit, before))
        except Exception as error:  # noqa: BLE001 - returned to the caller
            whole = isinstance(error, StateTooLarge)
            return first.edits() if results else first.reads(whole=whole), results, error
        results.append(result)
        if number:
            first.join(draft)
    return first.edits(), results, None
