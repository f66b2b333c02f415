"""The chain of each room's commits, from what anybody was shown of it."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gospa.store.content import NO_EPOCH
from gospa.store.contract import NO_TAG
from tests.gospa.chaos.ranges import Ranges
from tests.gospa.chaos.rooms import COLLECTIONS, items_of

ALWAYS = float("-inf")


@dataclass(slots=True)
class State:
    """A room's state at a commit; `parent` is None until a PATCH has named it."""

    version: int
    tag: bytes
    total: int
    lines: dict[str, Ranges] = field(repr=False)
    items: dict[str, int] = field(repr=False)
    ids: dict[str, frozenset[str]] = field(repr=False)  # of each collection
    parent: bytes | None = None
    seen: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, version: int, tag: bytes, fields: Mapping[str, Any]) -> "State":
        lines, items = items_of(fields, "lines"), items_of(fields, "items")
        ids = {name: frozenset(items_of(fields, name)) for name in COLLECTIONS}
        return cls(version, tag, fields.get("total", 0), lines, items, ids)


class Chain:
    """The states of one room that were shown since the last rest."""

    def __init__(self) -> None:
        self._states: dict[bytes, State] = {}
        self._tags: defaultdict[int, list[bytes]] = defaultdict(list)  # by version

    def __contains__(self, tag: bytes) -> bool:
        return tag in self._states

    def add(self, state: State) -> None:
        self._states[state.tag] = state
        self._tags[state.version].append(state.tag)

    def link(self, tag: bytes, parent: bytes) -> None:
        """A PATCH has named the parent of a state."""
        self._states[tag].parent = parent

    def parent(self, state: State) -> State | None:
        """The state before this one, if it was shown."""
        return None if state.parent is None else self._states.get(state.parent)

    def seen(self, tag: bytes) -> float:
        """When a state was first shown; it may have been before the last rest."""
        state = self._states.get(tag)
        return ALWAYS if state is None else state.seen

    def at(self, version: int) -> list[State]:
        """The states of that version: several if the store lost commits."""
        return [self._states[tag] for tag in self._tags.get(version, ())]

    def forks(self) -> Iterator[int]:
        """The versions that had several states."""
        return (version for version, tags in self._tags.items() if len(tags) > 1)

    def before(self, tag: bytes) -> set[bytes]:
        """This tag, and those that lead to it, as far as they were shown."""
        found: set[bytes] = set()
        at = self._states.get(tag)
        while at is not None and at.tag not in found:
            found.add(at.tag)
            at = self.parent(at)
        return found

    def epoch(self, tag: bytes, collection: str) -> bytes | None:
        """The last commit up to this one that changed which items there are; None if not shown."""
        at = self._states.get(tag)
        while at is not None:
            first, before = at.parent == NO_TAG, self.parent(at)
            if first and not at.ids[collection]:
                return NO_EPOCH
            if first or (before and before.ids[collection] != at.ids[collection]):
                return at.tag
            at = before
        return None

    def forget_all_but(self, tag: bytes) -> None:
        """Keep just this state."""
        kept = self._states.get(tag)
        self._states.clear()
        self._tags.clear()
        if kept is not None:
            self.add(kept)
