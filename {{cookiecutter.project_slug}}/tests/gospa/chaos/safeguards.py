"""Takes one safeguard of the engine away, to show that the suite notices."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from gospa.backends.redis import state
from gospa.live.local_room import LocalRoom
from gospa.live.mutations import MutationQueue
from gospa.live.replica import Link, Replica
from gospa.live.wire import Patch
from gospa.store.contract import Change, Commit, Outcome

_apply = Replica.apply
_commit: Callable[[MutationQueue, Change], Awaitable[Outcome]] = MutationQueue._commit  # noqa: SLF001
NUMBER_CHECK = b"known = known or tonumber(first) <= record[2]"


def _without_parents() -> None:
    """Take any PATCH for the next."""

    def apply(self: Replica, patch: Patch, frame: bytes) -> Link:
        return _apply(self, replace(patch, parent=self.tag), frame)

    Replica.apply = apply  # type: ignore[method-assign]


def _without_numbers() -> None:
    """Apply a mutation again that the store knows."""
    assert NUMBER_CHECK in state.SCRIPT
    state.SCRIPT = state.SCRIPT.replace(NUMBER_CHECK, b"")
    state.DIGEST = hashlib.sha1(state.SCRIPT, usedforsecurity=False).hexdigest()


def _without_heads() -> None:
    """Believe that the replica is at the store's commit."""

    async def compare(self: LocalRoom, tag: bytes, since: bytes) -> None:
        """Compare nothing."""

    LocalRoom.compare = compare  # type: ignore[method-assign]


def _without_questions() -> None:
    """Answer what changes nothing from the replica."""

    async def commit(self: MutationQueue, change: Change) -> Outcome:
        if change:
            return await _commit(self, change)
        return Commit(self._current().version)

    MutationQueue._commit = commit  # type: ignore[method-assign]  # noqa: SLF001


def _without_joins() -> None:
    """Show a client that joins the replica as it is."""

    async def catch_up(self: LocalRoom, version: int, tag: bytes | None) -> None:
        """Load nothing."""

    LocalRoom.catch_up = catch_up  # type: ignore[method-assign]


SAFEGUARDS: dict[str, Callable[[], None]] = {
    "parents": _without_parents,
    "numbers": _without_numbers,
    "heads": _without_heads,
    "questions": _without_questions,
    "joins": _without_joins,
}
