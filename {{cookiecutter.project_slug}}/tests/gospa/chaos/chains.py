"""The chain of each room's commits, from what anybody was shown of it."""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.gospa.chaos.rooms import Ranges, items, lines

ALWAYS = float("-inf")


@dataclass(slots=True)
class State:
    """A room's state at a commit; `parent` is None until a PATCH has named it."""

    version: int
    tag: bytes
    total: int
    lines: dict[str, Ranges] = field(repr=False)
    items: dict[str, int] = field(repr=False)
    parent: bytes | None = None
    seen: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, version: int, tag: bytes, fields: dict[str, Any]) -> "State":
        return cls(version, tag, fields.get("total", 0), lines(fields), items(fields))


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

    def forget_all_but(self, tag: bytes) -> None:
        """Keep just this state."""
        kept = self._states.get(tag)
        self._states.clear()
        self._tags.clear()
        if kept is not None:
            self.add(kept)
