"""A worker's copy of a room: a chain of commits in which a missing one is noticed."""

from collections import deque
from collections.abc import Mapping
from enum import Enum, auto

from gospa.live.wire import Patch
from gospa.store.codec import unreadable
from gospa.store.content import Content
from gospa.store.contract import Snapshot

RING_FRAMES = 256
RING_BYTES = 256 * 1024


class Link(Enum):
    """How a patch relates to the chain."""

    NEXT = auto()  # it continued the chain and was applied
    KNOWN = auto()  # it had been applied before
    GAP = auto()  # a commit before it is missing: the room has to be loaded
    STRAY = auto()  # older than the replica but not of its chain: late, or the store lost commits


class Replica:
    """The room as of the last patch, and the last frames for clients that reconnect."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.version = snapshot.version
        self.tag = snapshot.tag
        self.content = Content(snapshot.fields, snapshot.epochs)
        self.unreadable = unreadable(snapshot.fields)  # with one, clients could read none
        self._frames: deque[tuple[bytes, bytes, bytes]] = deque()  # parent, tag, frame
        self._bytes = 0

    def apply(self, patch: Patch, frame: bytes) -> Link:
        """Follow the chain with `patch`, published as `frame`, or say why that cannot be."""
        if patch.parent != self.tag:
            if self.knows(patch.tag):
                return Link.KNOWN
            return Link.GAP if patch.version > self.version else Link.STRAY
        self.content.apply(patch.set, patch.delete, patch.tag)
        for key in (*patch.set, *patch.delete) if self.unreadable else ():
            self.unreadable.pop(key, None)
        self.version = patch.version
        self.tag = patch.tag
        self._frames.append((patch.parent, patch.tag, frame))
        self._bytes += len(frame)
        while len(self._frames) > RING_FRAMES or self._bytes > RING_BYTES:
            self._bytes -= len(self._frames.popleft()[2])
        return Link.NEXT

    @property
    def shown(self) -> Mapping[str, bytes]:
        """The values that clients can read; the content has all."""
        if not self.unreadable:
            return self.content.fields
        fields = self.content.fields.items()
        return {key: raw for key, raw in fields if key not in self.unreadable}

    def knows(self, tag: bytes) -> bool:
        """Whether the chain is at `tag` or recently passed it."""
        return tag == self.tag or any(tag == link for _, link, _ in reversed(self._frames))

    def passed(self, tag: bytes, since: bytes) -> bool:
        """Whether `tag` is `since` or a later link of the chain."""
        for _, link, _ in reversed(self._frames):
            if link == tag:
                return True
            if link == since:
                return False
        return tag == since

    def missed(self, tag: bytes) -> list[bytes] | None:
        """The frames that lead from `tag` to now, or None if they are not kept."""
        if tag == self.tag:
            return []
        frames = iter(self._frames)
        for parent, _, frame in frames:
            if parent == tag:
                return [frame, *(later for _, _, later in frames)]
        return None
