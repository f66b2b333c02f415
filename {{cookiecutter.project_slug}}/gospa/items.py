"""Collections of a room's state: `notes: Items[Note] = Items()`."""

import re
import secrets
import time
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Self, TypeVar, overload

from gospa.errors import DefinitionError, Invalid, RoomError
from gospa.store.codec import CodecError, check_keys
from gospa.store.values import MISSING, Values, ValueType

T = TypeVar("T")

LONGEST_ID = 128  # characters
AHEAD = 60_000  # milliseconds by which a client's id may be ahead of this clock
_APPENDED = re.compile(r"[0-9a-f]{17}")


class Items(MutableMapping[str, T]):
    """A collection of a room's state, by id and in the order of ids.

    Each item has its own key, so writers of different items never conflict. `items["id"]` and
    `"id" in items` conflict with writers of that item; `len` and iteration with writers that add or
    remove items; `append`, `discard`, and assigning an item that was not read, with none. The truth
    value of a collection, as in `if items`, reads its `len`.

    With `keep`, `append` removes the oldest items beyond that many. As it does not wait for other
    workers, a burst may leave a few more until the next `append`.
    """

    def __init__(self, *, keep: int | None = None) -> None:
        if keep is not None and keep < 1:
            raise DefinitionError(f"Items(keep={keep}) would keep nothing")
        self.keep = keep
        self.name = ""
        self._values: Values | None = None
        self._type: ValueType | None = None

    def define(self, name: str, kind: ValueType) -> None:
        """Set the name of the State's collection."""
        self.name, self._type = name, kind

    @property
    def item_type(self) -> ValueType:
        """The type of its items."""
        assert self._type is not None  # noqa: S101 - defined with its State
        return self._type

    def bind(self, values: Values) -> "Items[T]":
        """This collection in one state."""
        bound: Items[T] = object.__new__(type(self))
        bound.keep, bound.name, bound._type = self.keep, self.name, self._type
        bound._values = values
        return bound

    @overload
    def __get__(self, state: None, kind: type, /) -> Self: ...
    @overload
    def __get__(self, state: object, kind: type, /) -> "Items[T]": ...
    def __get__(self, state: Any, kind: type, /) -> Any:
        if state is None:
            return self
        bound = state.__dict__.get(self.name)
        if bound is None:
            bound = state.__dict__[self.name] = self.bind(state.__dict__["_values"])
        return bound

    def __set__(self, state: Any, items: Mapping[str, T]) -> None:
        bound = self.__get__(state, type(state))
        if items is not bound:
            added = dict(items)
            bound.clear()
            bound.update(added)

    def __getitem__(self, id: str) -> T:
        found = self._bound().read(self._key(id), self.item_type)
        if found is MISSING:
            raise KeyError(id)
        value: T = found
        return value

    def __setitem__(self, id: str, value: T) -> None:
        key = self._key(id)
        if not 0 < len(id) <= LONGEST_ID:
            raise CodecError(f"the id {id!r:.60}: ids have 1 to {LONGEST_ID} characters")
        self._bound().write(key, self.item_type, value)

    def __delitem__(self, id: str) -> None:
        if id not in self:
            raise KeyError(id)
        self.discard(id)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self._bound().draft.get(self._key(id)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._bound().draft.ids(self.name))

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._bound().draft.ids(self.name))

    def __len__(self) -> int:
        return self._bound().draft.count(self.name)

    def __repr__(self) -> str:
        return f"Items({dict(self) if self._values else ''})"

    def discard(self, id: str) -> None:
        """Remove an item if it exists. Conflicts only with adding it at the same time."""
        self._bound().remove(self._key(id))

    def clear(self) -> None:
        """Remove all items."""
        for id in list(self):
            self.discard(id)

    def append(self, value: T, *, id: str | None = None) -> str:
        """Add an item after all others that this worker knows; returns its id.

        An id has 17 hex digits: 11 of the time in milliseconds, 6 random ones. A client that shows
        the item at once chooses the id (`room.newId`). Raises Invalid for an id of another form or
        in the future, and RoomError if the id exists. With `keep`, an item whose id is older than
        all ids of a full collection is removed again.
        """
        draft = self._bound().draft
        if id is None:
            id = after(draft.last(self.name))
        else:
            _check_id(id)
            if id in self:
                raise RoomError(f"{self.name} has an item with this id")
        self[id] = value
        if self.keep is not None:
            for oldest in draft.oldest(self.name, self.keep):
                self.discard(oldest)
        return id

    def _key(self, id: str) -> str:
        if type(id) is not str or not id.isascii():
            check_keys((id,), self.name)
        return f"{self.name}/{id}"

    def _bound(self) -> Values:
        if self._values is None:
            raise TypeError("Items() belongs in a State: `notes: Items[Note] = Items()`")
        return self._values


def after(last: str) -> str:
    """An id above `last`: 11 hex digits of milliseconds, 6 random ones.

    The time is a hybrid logical clock: above that of all known ids, even if this clock is behind.
    https://cse.buffalo.edu/tech-reports/2014-04.pdf
    """
    known = int(last[:11], 16) if _APPENDED.fullmatch(last) else 0
    return f"{max(time.time_ns() // 1_000_000, known + 1):011x}{secrets.token_hex(3)}"


def _check_id(id: str) -> None:
    if not _APPENDED.fullmatch(id):
        raise Invalid(f"the id {id!r:.40}: use room.newId()")
    # Later ids would have to be above it.
    if int(id[:11], 16) > time.time_ns() // 1_000_000 + AHEAD:
        raise Invalid("the id is ahead of the server's clock: correct the clock of this device")
