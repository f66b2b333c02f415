"""A room's values in memory: a map of keys, with the ids of each collection in order.

A key is `<field>`, or `<collection>/<id>` for an item of a collection. A collection has an
**epoch**: the tag of the last commit that created or deleted one of its keys. Stores and replicas
derive it from each change in the same way. So a writer that read which items exist can expect an
epoch, and a writer that only adds an item expects none.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from heapq import merge
from typing import Protocol

NO_EPOCH = b""  # of a collection that never had an item
UNKNOWN_EPOCH = b"?"  # differs from all others: a commit that expects it gets the stored room
OVERHEAD = 64  # bytes that are counted for a value, in addition to its key and itself
# Bytes, about, that a store needs for a room in addition to its values, and for a source's record.
ROOM, RECORD = 1024, 512
ENGINE = ("$", "%")  # begin the engine's keys, which are in no State
HIDDEN = "%"  # begins those that are not published either, and are only in the store


def collection_of(key: str) -> str:
    """The collection that a key belongs to, "" for a field."""
    name, slash, _ = key.partition("/")
    return name if slash else ""


def published(fields: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The values without those that are only in the store."""
    if any(key.startswith(HIDDEN) for key in fields):
        return {key: raw for key, raw in fields.items() if not key.startswith(HIDDEN)}
    return fields


def value_size(key: str, raw: bytes | None) -> int:
    """The bytes, about, that a key and its value take; 0 without a value."""
    return 0 if raw is None else len(key) + len(raw) + OVERHEAD


def growth(view: "View", changed: Mapping[str, bytes], deleted: Iterable[str]) -> int:
    """By how many bytes a change makes a room larger."""
    touched = sum(value_size(key, view.get(key)) for key in (*changed, *deleted))
    return sum(value_size(key, raw) for key, raw in changed.items()) - touched


class View(Protocol):
    """A room as an action reads it."""

    @property
    def size(self) -> int:
        """The bytes that it takes, about, without what is only in the store."""

    def get(self, key: str) -> bytes | None:
        """The encoded value of a key, or None."""

    def ids(self, collection: str) -> Iterable[str]:
        """The ids of a collection's items, in order."""

    def count(self, collection: str) -> int:
        """How many items a collection has."""

    def last(self, collection: str) -> str:
        """The greatest id of a collection, "" without items."""

    def epoch(self, collection: str) -> bytes:
        """The collection's epoch at the commit on which this is based."""


class Content:
    """A room's values, which follow commits; the cost depends on the size of the change."""

    def __init__(self, fields: Mapping[str, bytes], epochs: Mapping[str, bytes]) -> None:
        self._fields = dict(fields)
        self._epochs = dict(epochs)
        self._ids: dict[str, list[str]] = {}
        for key in self._fields:
            if name := collection_of(key):
                self._ids.setdefault(name, []).append(key[len(name) + 1 :])
        for ids in self._ids.values():
            ids.sort()
        self.size = sum(value_size(key, raw) for key, raw in self._fields.items())

    @property
    def fields(self) -> Mapping[str, bytes]:
        """All keys with their values; not a copy."""
        return self._fields

    def copied(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """A copy of the values and the epochs."""
        return dict(self._fields), dict(self._epochs)

    def get(self, key: str) -> bytes | None:
        return self._fields.get(key)

    def ids(self, collection: str) -> Sequence[str]:
        return self._ids.get(collection, ())

    def count(self, collection: str) -> int:
        return len(self.ids(collection))

    def last(self, collection: str) -> str:
        ids = self.ids(collection)
        return ids[-1] if ids else ""

    def epoch(self, collection: str) -> bytes:
        return self._epochs.get(collection, NO_EPOCH)

    def apply(self, changed: Mapping[str, bytes], deleted: Iterable[str], tag: bytes) -> None:
        """Follow a commit."""
        for key, raw in changed.items():
            before = self._fields.get(key)
            self._fields[key] = raw
            self.size += value_size(key, raw) - value_size(key, before)
            if before is None and (name := collection_of(key)):
                self._epochs[name] = tag
                insort(self._ids.setdefault(name, []), key[len(name) + 1 :])
        for key in deleted:
            before = self._fields.pop(key, None)
            self.size -= value_size(key, before)
            if before is not None and (name := collection_of(key)):
                self._epochs[name] = tag
                ids = self._ids[name]
                del ids[bisect_left(ids, key[len(name) + 1 :])]


class _Touched:
    """The ids of a collection that an overlay set or deleted."""

    __slots__ = ("all", "growth", "present")

    def __init__(self) -> None:
        self.all: set[str] = set()
        self.present: list[str] = []  # those that were not deleted, in order
        self.growth = 0  # the change in the number of items

    def put(self, item: str, *, before: bool, after: bool) -> None:
        """Note whether an item existed before a change, and after it."""
        own = before and item in self.all
        self.all.add(item)
        self.growth += after - before
        if after and not own:
            insort(self.present, item)
        elif own and not after:
            del self.present[bisect_left(self.present, item)]


class Overlay:
    """Changes over another view, which is not modified."""

    __slots__ = ("_base", "_epochs", "_touched", "changes", "size")

    def __init__(self, base: View) -> None:
        self._base = base
        self.changes: dict[str, bytes | None] = {}  # None: deleted
        self._touched: dict[str, _Touched] = {}
        self._epochs: dict[str, bytes] = {}
        self.size = base.size  # later changes of the base are in this overlay, or not known to it

    def get(self, key: str) -> bytes | None:
        return self.changes[key] if key in self.changes else self._base.get(key)

    def ids(self, collection: str) -> Iterable[str]:
        touched = self._touched.get(collection)
        if not touched:
            return self._base.ids(collection)
        others = (each for each in self._base.ids(collection) if each not in touched.all)
        return merge(others, touched.present)

    def count(self, collection: str) -> int:
        touched = self._touched.get(collection)
        return self._base.count(collection) + (touched.growth if touched else 0)

    def last(self, collection: str) -> str:
        last, touched = self._base.last(collection), self._touched.get(collection)
        if not touched:
            return last
        if last in touched.all and self.get(f"{collection}/{last}") is None:
            return max(self.ids(collection), default="")
        return max(last, touched.present[-1] if touched.present else "")

    def epoch(self, collection: str) -> bytes:
        epoch = self._epochs.get(collection)
        return self._base.epoch(collection) if epoch is None else epoch

    def apply(
        self, changed: Mapping[str, bytes | None], deleted: Iterable[str], tag: bytes = b""
    ) -> None:
        """Make a change, or follow a commit with this tag; a value of None deletes its key."""
        for key in deleted:
            self.put(key, None, tag)
        for key, raw in changed.items():
            self.put(key, raw, tag)

    def put(self, key: str, raw: bytes | None, tag: bytes = b"") -> None:
        """Set one key, or delete it."""
        if not key.startswith(HIDDEN):  # replicas have none of these, and so cannot count them
            self.size += value_size(key, raw) - value_size(key, self.get(key))
        self._put(key, raw, tag)

    def join(self, changes: Iterable[tuple[str, bytes | None]], size: int) -> None:
        """Take over changes that were made over this view; `size` is that of the room with them."""
        for key, raw in changes:
            self._put(key, raw)
        self.size = size

    def _put(self, key: str, raw: bytes | None, tag: bytes = b"") -> None:
        if name := collection_of(key):
            before = self.get(key)
            touched = self._touched.get(name)
            if touched is None:
                touched = self._touched[name] = _Touched()
            item = key[len(name) + 1 :]
            came_or_went = (before is None) is not (raw is None)
            touched.put(item, before=before is not None, after=raw is not None)
            if tag:
                # The base's epoch as of now: later commits may change it, while this has other ids.
                self._epochs[name] = tag if came_or_went else self.epoch(name)
        self.changes[key] = raw


class MovingOverlay(Overlay):
    """An overlay on a replica that follows further commits, maybe those in the overlay."""

    __slots__ = ()

    def count(self, collection: str) -> int:
        touched = self._touched.get(collection)
        known = self._base.count(collection)
        for each in touched.all if touched else ():
            key = f"{collection}/{each}"
            known += (self.changes[key] is not None) - (self._base.get(key) is not None)
        return known
