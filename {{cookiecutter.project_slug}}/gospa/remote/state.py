"""A client's copy of a room's state: fields, and collections whose items are in the order of ids.

A key of the chain is `<field>` or `<collection>/<id>`. Keys that begin with `$` belong to the
engine, and are not in the state. States are immutable: later states share the unchanged parts.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

ENGINE = "$"


class Collection:
    """Items by id."""

    def __init__(self) -> None:
        self._items: dict[str, Any] = {}
        self._shown: Mapping[str, Any] | None = None
        self._ordered = True

    def __len__(self) -> int:
        return len(self._items)

    @property
    def shown(self) -> Mapping[str, Any]:
        """The items in the order of their ids, by Unicode code points; immutable."""
        if self._shown is None:
            if not self._ordered:
                self._items, self._ordered = dict(sorted(self._items.items())), True
            self._shown = MappingProxyType(self._items)
        return self._shown

    def put(self, id: str, item: Any) -> None:
        items = self._writable()
        if id not in items and items and id < next(reversed(items)):
            self._ordered = False
        items[id] = item

    def discard(self, id: str) -> None:
        self._writable().pop(id, None)

    def _writable(self) -> dict[str, Any]:
        if self._shown is not None:
            self._items, self._shown = dict(self._items), None
        return self._items


class ClientState:
    """A copy that follows the room's commits."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._collections: dict[str, Collection] = {}
        self._defaults: Mapping[str, Any] = {}
        self._named: tuple[str, ...] = ()  # the room's collections, also those without items
        self._shown: Mapping[str, Any] | None = None

    @property
    def shown(self) -> Mapping[str, Any]:
        """Defaults, fields and collections: another object after each change."""
        if self._shown is None:
            named = {name: self._collections.get(name, Collection()) for name in self._named}
            filled = {name: each for name, each in self._collections.items() if len(each)}
            shown = {name: each.shown for name, each in (named | filled).items()}
            self._shown = MappingProxyType({**self._defaults, **self._fields, **shown})
        return self._shown

    def replace(self, values: Mapping[str, Any]) -> None:
        """Replace the state with a snapshot."""
        self._fields, self._collections = {}, {}
        self.apply(values, ())

    def apply(self, changed: Mapping[str, Any], deleted: Iterable[str]) -> None:
        """Follow a commit."""
        self._shown = None
        for key, value in changed.items():
            name, slash, item = key.partition("/")
            if key.startswith(ENGINE):
                continue
            if slash:
                self._collections.setdefault(name, Collection()).put(item, value)
            else:
                self._fields[key] = value
        for key in deleted:
            name, slash, item = key.partition("/")
            if not slash:
                self._fields.pop(key, None)
            elif name in self._collections:
                self._collections[name].discard(item)

    def describe(self, defaults: Mapping[str, Any], collections: Iterable[str]) -> None:
        """Set the fields' defaults, and the names of the collections."""
        named = tuple(collections)
        if (defaults, named) != (self._defaults, self._named):
            self._defaults, self._named, self._shown = defaults, named, None
