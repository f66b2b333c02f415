"""The numbers of one source's mutations, and what became of each."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from gospa.errors import RoomError, StoreUnavailable
from gospa.rates import Visitor
from gospa.store import contract


class Applied(Struct, frozen=True):
    """A mutation is in the commit `version`; the result of a repeated one is not kept.

    `size`: its part of the bytes that were sent to each member.
    """

    version: int
    result: Any = None
    size: float = 0


Outcome = Applied | Exception


def known_outcome(known: contract.Known, source: str, number: int) -> Outcome | None:
    """What became of a mutation according to the store's records, None if it is not in them."""
    record = known.records.get(source, contract.Record())
    if number > record.last:
        return None
    if number in record.refused:
        return RoomError("this mutation was refused before")
    return Applied(record.version)


class MutationSequence:
    """The numbers of one source's mutations in a room, over one connection.

    A source is a client in its session, or an idempotency key; `source` is its name in the store,
    which keeps its last number for `ttl` seconds and treats lower ones as repeats. So no mutation
    may overtake one whose outcome is unknown, and each commit names the numbers that were refused.
    Without `record_refusals`, one that was refused may be tried again under its number.
    """

    def __init__(self, source: str, ttl: float, *, record_refusals: bool = True) -> None:
        self.source, self.ttl, self.record_refusals = source, ttl, record_refusals
        self._done, self._unknown = 0, math.inf
        self.refused: deque[int] = deque(maxlen=contract.MAX_REFUSED)

    def numbered(
        self, numbers: Sequence[int], visitor: Visitor | None, grown: int, *, refused: bool
    ) -> contract.Numbered:
        """Mutations with rising numbers, for a commit; see `contract.Numbered`."""
        first, last = numbers[0], numbers[-1]
        # A refusal is recorded, so that an earlier try whose answer was lost is not applied later.
        abandoned = [number for number in self.refused if number < last] + [last] * refused
        ttl = 0.0 if refused and not self.record_refusals else self.ttl
        return contract.Numbered(self.source, first, last, ttl, abandoned, visitor, grown)

    def blocks(self, number: int, before: int) -> bool:
        """Whether one that is neither done nor in the batch, up to `before`, comes first."""
        return number > self._unknown > before

    def settle(self, number: int, outcome: Outcome) -> None:
        """Record the outcome that is sent to the client."""
        if isinstance(outcome, StoreUnavailable):
            if number > self._done:  # else the client has its answer and will not repeat it
                self._unknown = min(number, self._unknown)
            return
        if not isinstance(outcome, Applied):
            self.refused.append(number)
        elif self.refused:  # the store's record has those before it
            self.refused = deque((n for n in self.refused if n > number), contract.MAX_REFUSED)
        self._done = max(self._done, number)
        self._unknown = math.inf if number == self._unknown else self._unknown
