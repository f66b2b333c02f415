"""A working copy of a room's state that records reads and changes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gospa.store.codec import check, check_keys, pack, unpack

NO_DEFAULTS: Mapping[str, bytes] = MappingProxyType({})
OVERHEAD = 64  # bytes that are counted for a field besides its key and value


@dataclass(frozen=True, slots=True)
class Edits:
    """What a draft read and changed; `all_keys`: whether it read which keys exist."""

    read: Mapping[str, bytes | None]
    all_keys: bool
    set: Mapping[str, bytes]
    delete: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.set or self.delete)

    def then(self, later: "Edits") -> "Edits":
        """These edits and `later`, which was made on top of them, as one."""
        own = {*self.set, *self.delete}
        kept = {key: raw for key, raw in self.set.items() if key not in later.delete}
        deleted = dict.fromkeys((*self.delete, *later.delete))
        return Edits(
            read={**{k: raw for k, raw in later.read.items() if k not in own}, **self.read},
            all_keys=self.all_keys or later.all_keys,
            set={**kept, **later.set},
            delete=tuple(key for key in deleted if key not in later.set),
        )

    def applied(self, fields: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """`fields` with these edits applied."""
        kept = {key: raw for key, raw in fields.items() if key not in self.delete}
        return {**kept, **self.set}


def fields_size(fields: Iterable[tuple[str, bytes]]) -> int:
    """The bytes that fields take in memory, about."""
    return sum(len(key) + len(raw) + OVERHEAD for key, raw in fields)


def growth(
    fields: Mapping[str, bytes], changed: Mapping[str, bytes], deleted: Iterable[str]
) -> int:
    """By how many bytes a change makes the fields of a room larger."""
    touched = [(key, fields[key]) for key in (*changed, *deleted) if key in fields]
    return fields_size(changed.items()) - fields_size(touched)


NO_EDITS = Edits(read={}, all_keys=False, set={}, delete=())


class StateTooLarge(ValueError):
    """A change would make a room's state larger than it may be."""


class Draft(MutableMapping[str, Any]):
    """A room's state as a dict, for an action to read and change.

    Values inside values may be changed in place: `draft["note"]["text"] = "new"` is noticed.
    Assigning a key without reading it is a blind write, which never conflicts. A key that is not
    stored has its value in `defaults`, if there is one; reading it does not store it.
    """

    def __init__(
        self, fields: Mapping[str, bytes], defaults: Mapping[str, bytes] = NO_DEFAULTS
    ) -> None:
        self._fields, self._defaults = fields, defaults
        self._values: dict[str, Any] = {}  # decoded when read, or assigned
        self._assigned: set[str] = set()
        self._deleted: set[str] = set()
        self._read: dict[str, bytes | None] = {}
        self._all_keys = False

    def __getitem__(self, key: str) -> Any:
        if key in self._values:
            return self._values[key]
        raw = None
        if key not in self._deleted:
            raw = self._read[key] = self._fields.get(key)
        raw = self._defaults.get(key) if raw is None else raw
        if raw is None:
            raise KeyError(key)
        value = self._values[key] = unpack(raw)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        check_keys((key,), "the state")
        self._values[key] = value
        self._assigned.add(key)
        self._deleted.discard(key)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._values.pop(key, None)
        self._assigned.discard(key)
        self._deleted.add(key)

    def clear(self) -> None:
        """Delete all keys; those with defaults have them again."""
        # MutableMapping's own would wait for a draft without keys, and defaults never end.
        for key in list(self):
            del self[key]

    def __iter__(self) -> Iterator[str]:
        self._all_keys = True
        stored = [key for key in self._fields if key not in self._deleted]
        yield from dict.fromkeys([*stored, *self._values, *self._defaults])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def reads(self, *, all_keys: bool = False) -> Edits:
        """What was read so far, without what was changed."""
        return Edits(dict(self._read), self._all_keys or all_keys, set={}, delete=())

    def edits(self) -> Edits:
        """What was read and changed so far. Raises CodecError for a value state cannot hold."""
        packed = {key: pack(value) for key, value in self._values.items()}
        changed = {
            key: raw
            for key, raw in packed.items()
            if key in self._assigned or raw != self._shown(key)
        }
        return Edits(
            read=dict(self._read),
            all_keys=self._all_keys,
            set=changed,
            delete=tuple(key for key in self._deleted if self._may_be_stored(key, changed)),
        )

    def _may_be_stored(self, key: str, changed: Mapping[str, bytes]) -> bool:
        """Whether a deleted key has to be deleted in the store: also one that was never read."""
        return key not in changed and self._read.get(key, b"") is not None

    def _shown(self, key: str) -> bytes | None:
        """What a key had before this draft changed it, as far as the draft shows it."""
        stored = None if key in self._deleted else self._read[key]
        return self._defaults.get(key) if stored is None else stored


def run_all(
    runs: Iterable[Callable[[Draft], Any]],
    fields: Mapping[str, bytes],
    defaults: Mapping[str, bytes],
    limit: float,
) -> tuple[Edits, list[Any], Exception | None]:
    """Run functions one after another, each on what those before it left, until one fails.

    Returns what they changed together, their results, and the error of the one that failed: what
    it raised, CodecError for a result or a value that cannot be kept, or StateTooLarge above
    `limit` bytes. If that is the first, the edits are what it had read, and change nothing.
    """
    edits, results = NO_EDITS, list[Any]()
    for run in runs:
        draft = Draft(fields, defaults)
        try:
            result = run(draft)
            check(result, "the result")
            own = draft.edits()
            _check_growth(fields, own, limit)
        except Exception as error:  # noqa: BLE001 - returned to the caller
            failed = draft.reads(all_keys=isinstance(error, StateTooLarge))
            return edits if results else failed, results, error
        results.append(result)
        edits = edits.then(own)
        fields = own.applied(fields) if own else fields
    return edits, results, None


def _check_growth(fields: Mapping[str, bytes], edits: Edits, limit: float) -> None:
    more = growth(fields, edits.set, edits.delete)
    if more > 0 and fields_size(fields.items()) + more > limit:
        raise StateTooLarge(f"the room would exceed its {limit} bytes: remove something first")
