"""Each visitor's share of the memory of the store, so that no visitor can use all of it."""

from collections import Counter
from collections.abc import Iterable, Mapping

from gospa.errors import StoreFull
from gospa.rates import Visitor
from gospa.trouble import report

PART = 0.25  # of the free memory that a network may hold; a session may hold what is left of it


class Shares:
    """The bytes held by each session and network.

    The limit depends on the free memory: the first network gets a fifth of an empty store, and each
    further one a fraction of the rest, so that later visitors find space as well.
    """

    def __init__(self, held: Iterable[Mapping[Visitor, int]] = ()) -> None:
        self._sessions, self._networks = Counter[str](), Counter[str]()
        for each in held:
            self.add(each)

    def check(self, added: Mapping[Visitor, int], free: float) -> None:
        """Raise StoreFull if a visitor adds more than its share."""
        for visitor, more in added.items():
            if more > 0 and not self.allows(visitor, more, free):
                text = "the visitor's share of the memory is full (GOSPA_MEMORY_SIZE)"
                report("store_full", text)
                raise StoreFull(text)

    def allows(self, visitor: Visitor, more: int, free: float) -> bool:
        """Whether a visitor's share has space for `more` bytes of its session."""
        session, network = visitor
        left = PART * free - self._networks[network]
        return not network or self._sessions[session] + more <= left

    def add(self, added: Mapping[Visitor, int]) -> None:
        """Count bytes that were added, or removed if negative."""
        for (session, network), more in added.items():
            for counts, key in ((self._sessions, session), (self._networks, network)):
                counts[key] += more
                if not counts[key]:
                    del counts[key]


class Holders:
    """The bytes of a room that each visitor added."""

    def __init__(self) -> None:
        self.held: Counter[Visitor] = Counter()
        self._total = 0

    def add(self, added: Mapping[Visitor, int], size: int) -> Counter[Visitor]:
        """Count the bytes that a change added to the room, which now takes `size` bytes.

        Returns by how much the bytes of each visitor changed. If a visitor removed bytes of others,
        they are subtracted from the largest holders.
        """
        before = {visitor: self.held[visitor] for visitor in added}
        for visitor, more in added.items():
            self._set(visitor, max(0, self.held[visitor] + more))
        for visitor, bytes_ in self.held.most_common() if self._total > size else ():
            before.setdefault(visitor, bytes_)
            self._set(visitor, bytes_ - min(bytes_, self._total - size))
            if self._total <= size:
                break
        return Counter({visitor: self.held[visitor] - had for visitor, had in before.items()})

    def _set(self, visitor: Visitor, bytes_: int) -> None:
        self._total += bytes_ - self.held[visitor]
        self.held[visitor] = bytes_
        if not bytes_:
            del self.held[visitor]
