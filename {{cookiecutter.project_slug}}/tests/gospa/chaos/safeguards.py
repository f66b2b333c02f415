"""Takes one safeguard of the engine away, to show that the suite notices."""

import hashlib
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from gospa.backends.redis import state
from gospa.live.follower import Follower
from gospa.live.mutations import MutationQueue
from gospa.live.replica import Link, Replica
from gospa.live.wire import Patch
from gospa.store.contract import Change, Commit, Outcome

_apply = Replica.apply
_commit: Callable[[MutationQueue, Change], Awaitable[Outcome]] = MutationQueue._commit  # noqa: SLF001
NUMBER_CHECK = b"known = known or tonumber(first) <= record[2]"
EPOCH_CHECK = b"moved = moved or (redis.call('HGET', room, '#' .. ARGV[i]) or '') ~= ARGV[i + 1]"


def _without(line: bytes) -> None:
    """Take a line out of the script."""
    assert line in state.SCRIPT
    state.SCRIPT = state.SCRIPT.replace(line, b"")
    state.DIGEST = hashlib.sha1(state.SCRIPT, usedforsecurity=False).hexdigest()


def _without_parents() -> None:
    """Take any PATCH for the next."""

    def apply(self: Replica, patch: Patch, frame: bytes) -> Link:
        return _apply(self, replace(patch, parent=self.tag), frame)

    Replica.apply = apply  # type: ignore[method-assign]


def _without_numbers() -> None:
    """Apply a mutation again that the store knows."""
    _without(NUMBER_CHECK)


def _without_epochs() -> None:
    """Apply what depends on which items there are, whatever others have added or removed."""
    _without(EPOCH_CHECK)


def _without_heads() -> None:
    """Believe that the replica is at the store's commit."""

    async def compare(self: Follower, tag: bytes, since: bytes) -> None:
        """Compare nothing."""

    Follower.compare = compare  # type: ignore[method-assign]


def _without_questions() -> None:
    """Answer what changes nothing from the replica."""

    async def commit(self: MutationQueue, change: Change) -> Outcome:
        if change:
            return await _commit(self, change)
        return Commit(self._newest.version)

    MutationQueue._commit = commit  # type: ignore[method-assign]  # noqa: SLF001


def _without_joins() -> None:
    """Show a client that joins the replica as it is."""

    async def catch_up(self: Follower, version: int, tag: bytes | None) -> None:
        """Load nothing."""

    Follower.catch_up = catch_up  # type: ignore[method-assign]


SAFEGUARDS: dict[str, Callable[[], None]] = {
    "parents": _without_parents,
    "numbers": _without_numbers,
    "epochs": _without_epochs,
    "heads": _without_heads,
    "questions": _without_questions,
    "joins": _without_joins,
}
