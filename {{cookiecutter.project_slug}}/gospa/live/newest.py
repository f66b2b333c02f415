"""The newest state that a worker knows of a room: what its next mutations run on."""

from collections.abc import Callable

from gospa.live.replica import Replica
from gospa.live.wire import Patch
from gospa.store.content import UNKNOWN_EPOCH, Content, MovingOverlay, View, published
from gospa.store.contract import (
    ABSENT,
    NO_TAG,
    Change,
    Commit,
    Conflict,
    Moved,
    splice,
)


class Newest:
    """The worker's replica, or while that is behind, the values from commits and conflicts.

    After a conflict it is a mixture of several states, with NO_TAG: only the values that a commit
    verifies are reliable.
    """

    def __init__(
        self, replica: Callable[[], Replica], publish: Callable[[Patch, bytes], None]
    ) -> None:
        """`publish` is called with each commit that is made here, and its PATCH."""
        self._replica = replica
        self._publish = publish
        self._ahead = False
        self.version = 0
        self.tag = NO_TAG
        self.view: View = replica().content

    def reset(self) -> None:
        """The replica was loaded again, maybe from another chain."""
        self._ahead = False

    def refresh(self) -> None:
        """Take the replica's state unless the one here is newer."""
        replica = self._replica()
        if not self._ahead or replica.version >= self.version:
            self._ahead = False
            self.version, self.tag, self.view = replica.version, replica.tag, replica.content

    def follow(self, change: Change, commit: Commit) -> None:
        """Go on from a commit that was made on this state."""
        changed = published(change.set)
        patch = Patch(commit.version, commit.parent, change.tag, changed, change.delete)
        self._publish(patch, splice(change.message, commit.version, commit.parent))
        if self._replica().version < commit.version:
            exact = commit.parent == self.tag
            tag = change.tag if exact else UNKNOWN_EPOCH
            self._overlay().apply(change.set, change.delete, tag)
            self.version, self.tag = commit.version, change.tag if exact else NO_TAG

    def learn(self, outcome: Conflict | Moved) -> None:
        """Take over what the store has by now."""
        if isinstance(outcome, Conflict):
            self._overlay().apply(outcome.values, (), UNKNOWN_EPOCH)
            self.tag = NO_TAG
            return
        found = outcome.snapshot or ABSENT
        self._ahead = True
        self.version, self.tag = found.version, found.tag
        self.view = Content(published(found.fields), found.epochs)

    def _overlay(self) -> MovingOverlay:
        """The view as one that can be changed here without changing the replica."""
        if not self._ahead or not isinstance(self.view, MovingOverlay):
            self.view = MovingOverlay(self.view)
            self._ahead = True
        return self.view
