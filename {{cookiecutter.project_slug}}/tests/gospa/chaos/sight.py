"""What one client was shown of one room, and had acknowledged: neither may be taken back."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from gospa.store.contract import NO_TAG
from tests.gospa.chaos.mutation import Mutation
from tests.gospa.chaos.ranges import Ranges, add_number, holds, lacking
from tests.gospa.chaos.rooms import line_of
from tests.gospa.chaos.truth import Doubt, Kind, Truth

ACKNOWLEDGED = b"acknowledged"  # the tag of a commit whose version alone is known


class Sight:
    """Follows a client over all its connections: monotonic reads, and read your writes."""

    def __init__(self, client: str, room: str, truth: Truth, kind: str = "client") -> None:
        self.version, self.tag = 0, NO_TAG
        self.client = client  # the key of its line
        self._who = f"{kind} {client[:8]}"
        self._room, self._truth = room, truth
        self._own: Ranges = []  # acknowledged, and due in every state from now on
        self._ahead: deque[Mutation] = deque()  # acknowledged, but their states were not shown
        self._floor = 0  # the version named by a JOIN that was not answered yet

    @property
    def newest(self) -> int:
        """The newest version that was shown or acknowledged."""
        return max([self.version, *(each.version or 0 for each in self._ahead)])

    def acknowledged(self, mutation: Mutation) -> None:
        if mutation.version is not None:
            self._ahead.append(mutation)

    def rejoin(self) -> int:
        """Join over a new connection; returns the version to name.

        No older SNAPSHOT may follow. PATCHes may lead from an older state to that of JOINED.
        """
        self._floor = max(self._floor, self.newest)
        return self._floor

    def joined(self, state: Mapping[str, Any]) -> None:
        """A JOIN was answered: the client displays what it named, unless the store lost it."""
        self._arrive(self.version, self.tag)
        self._check_own(state, self.tag)

    def returned(
        self, mutation: Mutation, head: tuple[int, bytes], state: Mapping[str, Any]
    ) -> None:
        """A call returned while the client displays a state, which has to contain it.

        It is not known in which chain, if the store lost commits.
        """
        self._owe(mutation)
        self._check_own(state, ACKNOWLEDGED, head[1])
        self.shown(head, state)

    def read(self, mutation: Mutation, state: Mapping[str, Any]) -> None:
        """A state was read after a call had returned."""
        self._owe(mutation)
        self._check_own(state)

    def shown(
        self,
        head: tuple[int, bytes],
        state: Mapping[str, Any],
        parent: bytes | None = None,
    ) -> None:
        """The client displays this from now on."""
        version, tag = head
        if tag != self.tag:
            self._check_order(version, tag)
        self.version, self.tag = version, tag
        if parent is None and self._floor:
            self._arrive(version, tag)
        while self._ahead and (self._ahead[0].version or 0) <= version:
            self._owe(self._ahead.popleft())
        self._check_own(state, tag)
        self._truth.shown(self._who, self._room, head, state, parent)

    def leave_line(self) -> None:
        """Changes under this key are no longer followed."""
        self._own.clear()
        self._floor = self.newest
        self._ahead.clear()

    def rest(self, client: str, state: Mapping[str, Any]) -> None:
        """All was judged: what is in the state now is what is due."""
        self.client = client
        self._own = [list(each) for each in line_of(state, client)]
        self._ahead.clear()
        self._floor = 0

    def _check_order(self, version: int, tag: bytes) -> None:
        if version < self.version or (version == self.version and self.tag != NO_TAG):
            text = f"{self._who} was shown {self._room} at {version} {tag.hex()}"
            self._doubt(Kind.BACK, f"{text} after {self.version} {self.tag.hex()}", self.tag, tag)

    def _arrive(self, version: int, tag: bytes) -> None:
        """This is the answer to a JOIN."""
        while self._ahead:
            self._owe(self._ahead.popleft())
        if version < self._floor:
            text = f"{self._who} was shown {self._room} at {version} after a JOIN with"
            self._doubt(Kind.BACK, f"{text} {self._floor}", ACKNOWLEDGED, tag)
        self._floor = 0

    def _check_own(self, state: Mapping[str, Any], *tags: bytes) -> None:
        self._truth.counts["looks for own changes in states"] += bool(self._own)
        if missing := lacking(self._own, line_of(state, self.client)):
            self._own = lacking(self._own, missing)
            text = f"{self._who} was shown {self._room} without its changes {missing}"
            found = (missing[0][0], missing[-1][1])
            self._doubt(Kind.HIDDEN, f"{text} at {self.version}", *tags, missing=found)

    def _owe(self, mutation: Mutation) -> None:
        if (
            mutation.writes
            and not mutation.is_command
            and mutation.client == self.client
            and not holds(self._own, mutation.number)
        ):
            add_number(self._own, mutation.number)

    def _doubt(self, kind: Kind, text: str, *tags: bytes, missing: tuple[int, ...] = ()) -> None:
        at = time.monotonic()
        text = f"{text}, at {at:.3f} s"
        self._truth.doubts.append(Doubt(kind, text, self._room, tags, self.client, missing, at))
