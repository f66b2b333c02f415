"""Mutations of a room that are to share a commit."""

from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace
from sanic.log import logger

from gospa.errors import RateLimited, StoreUnavailable
from gospa.live.limits import Bill
from gospa.live.sequence import Applied, MutationSequence, Outcome, known_outcome
from gospa.rates import Visitor
from gospa.store import contract
from gospa.store.contract import NO_TAG, Known
from gospa.store.draft import Run


class Mutation(Struct, frozen=True, eq=False):
    """A change to a room; `done` is called once, with its outcome.

    Without a sequence it has no number in the store: repeated, it is applied twice.
    """

    sequence: MutationSequence | None
    number: int
    run: Run
    done: Callable[[Outcome], None]
    context: Context = field(default_factory=copy_context)  # with the ids for the log
    name: str = "a change"  # for the log
    bill: Bill | None = None  # of the visitor who is charged
    visit: bool = False  # whether it is that of hooks, so that the room has only been visited

    def fail(self, outcome: Outcome) -> None:
        """End it with this outcome; it added nothing."""
        if self.bill is not None:
            self.bill.refund()
        self.settle(outcome)

    def settle(self, outcome: Outcome) -> None:
        """End it with this outcome."""
        if self.sequence is not None:
            self.sequence.settle(self.number, outcome)
        try:
            self.context.run(self.done, outcome)
        except Exception:  # it concerns no other mutation
            logger.exception("the outcome of a mutation cannot be reported")


class Batch(Struct):
    """Mutations that are to share a commit; results and tag are those of their latest run."""

    mutations: list[Mutation]
    results: Sequence[Any] = ()
    tag: bytes = NO_TAG
    size: int = 0  # bytes of its message

    def numbered(self, error: Exception | None) -> list[contract.Numbered]:
        """The numbers of each source; of one mutation alone if that failed."""
        by_source: dict[MutationSequence, list[Mutation]] = {}
        for each in self.mutations:
            if each.sequence:
                by_source.setdefault(each.sequence, []).append(each)
        refused = error is not None
        numbers = [
            sequence.numbered([each.number for each in own], *_grown(own), refused=refused)
            for sequence, own in by_source.items()
        ]
        # It is to be repeated under its number, or its visitor may store nothing more.
        if isinstance(error, StoreUnavailable | RateLimited):
            return [replace(each, ttl=0.0) for each in numbers]
        return numbers

    def unnumbered(self) -> list[tuple[Visitor, int]]:
        """By how much visitors make the room larger with mutations that have no source."""
        bills = [each.bill for each in self.mutations if each.bill and not each.sequence]
        return [(bill.visitor, bill.grown) for bill in bills]

    def acknowledge(self, version: int) -> None:
        """Settle these as applied. Later calls have no effect."""
        size = self.size / max(len(self.mutations), 1)
        for mutation, result in zip(self._take(), self.results, strict=False):
            mutation.settle(Applied(version, result, size))

    def settle_known(self, known: Known) -> None:
        """Settle those that the store knows. The others remain."""
        for mutation in self._take():
            sequence, number = mutation.sequence, mutation.number
            outcome = known_outcome(known, sequence.source, number) if sequence else None
            if outcome is None:
                self.mutations.append(mutation)
            else:
                mutation.fail(outcome)  # its change was stored, and counted, before

    def fail(self, error: Exception) -> None:
        """Settle those that remain, and are not stored."""
        for mutation in self._take():
            mutation.fail(error)

    def _take(self) -> list[Mutation]:
        taken, self.mutations = self.mutations, []
        return taken


def _grown(mutations: Sequence[Mutation]) -> tuple[Visitor | None, int]:
    """The visitor who is charged for the mutations of a source, and the bytes that they add."""
    bills = [each.bill for each in mutations if each.bill]
    return (bills[0].visitor, sum(bill.grown for bill in bills)) if bills else (None, 0)
