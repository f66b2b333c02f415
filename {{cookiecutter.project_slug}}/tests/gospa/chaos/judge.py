"""Compares, at rest, what clients were told and shown with what the rooms hold in the end."""

from collections import Counter
from collections.abc import Mapping

from tests.gospa.chaos.chains import Chain, State
from tests.gospa.chaos.mutation import Mutation
from tests.gospa.chaos.ranges import AllLines, held, holds, lacking
from tests.gospa.chaos.truth import Doubt, Kind, Truth

LOST = "changes lost with the store"
SPLIT = "older states and answers while a server was being replaced"
LOST_CHAIN = "older or other states shown after the store had lost commits"


def judge(truth: Truth, finals: AllLines, heads: Mapping[str, bytes] | None = None) -> None:
    """Judge all that happened since the last rest; `heads` are the tags of the rooms by now."""
    case = _Case(truth, finals)
    case.judge_changes()
    case.judge_words()
    case.judge_totals()
    for room, chain in truth.chains.items():
        case.judge_chain(room, chain, chain.before((heads or {}).get(room, b"")))
    truth.rest(finals, heads or {})


class _Case:
    def __init__(self, truth: Truth, finals: AllLines) -> None:
        self._truth, self._finals = truth, finals
        self._counts = truth.counts

    def _covered(self, mutation: Mutation, at: float | None = None) -> bool:
        """Whether the store may have lost this change, by that time."""
        return any(
            loss.covers(mutation) and (at is None or loss.began <= at)
            for loss in self._truth.losses
        )

    def _lossy(self, room: str) -> bool:
        return any(loss.concerns(room) for loss in self._truth.losses)

    def _split(self, room: str, at: float | None) -> bool:
        """Whether two servers may have answered for the store by then."""
        return any(
            loss.split and loss.concerns(room) and loss.began <= (at or 0.0)
            for loss in self._truth.losses
        )

    # Whether changes are where they have to be

    def judge_changes(self) -> None:
        for room, after in self._finals.items():
            before = self._truth.lines.get(room, {})
            missing = [lacking(line, after.get(client, [])) for client, line in before.items()]
            gone = sum(map(held, missing))
            self._counts[LOST] += gone
            if gone and not self._lossy(room):
                self._truth.violate(Kind.LOST, f"{gone} changes of {room} vanished")
        for mutation in self._truth.open:
            self._judge_change(mutation)

    def _judge_change(self, mutation: Mutation) -> None:
        kept = mutation.kept(self._finals[mutation.room])
        self._counts["changes" if mutation.writes else "questions"] += 1
        self._counts["commands among them"] += mutation.is_command
        if mutation.unknown:
            self._counts["changes of unknown outcome"] += 1
        elif mutation.refused:
            self._counts[f"refused: {mutation.refused}"] += 1
            if kept and mutation.writes and mutation.doubtful:
                self._counts["refusals after which an earlier try was applied"] += 1
            elif kept and mutation.writes:
                self._truth.violate(Kind.KEPT, f"applied although refused: {mutation}")
        elif mutation.acknowledged is None:
            self._truth.violate(Kind.SILENT, f"never answered: {mutation}")
        elif mutation.writes and not kept:
            self._counts[LOST] += 1
            if not self._covered(mutation):
                self._truth.violate(Kind.LOST, f"acknowledged, but not there: {mutation}")

    # Whether what was answered is true

    def judge_words(self) -> None:
        for mutation in self._truth.open:
            self._judge_precondition(mutation)
            if mutation.result is not None and mutation.version is not None:
                self._judge_result(mutation)

    def _judge_precondition(self, mutation: Mutation) -> None:
        """Whether an item was there or not, as the answer implies."""
        basis, refused = mutation.basis, mutation.reason.startswith("the item")
        if basis is None or mutation.stale or not (refused or mutation.acknowledged):
            return
        there, taken_as_there = basis.kind == "put", (mutation.kind == "put") == refused
        self._counts["refusals and answers about items checked"] += 1
        if there == taken_as_there:
            return
        if self._covered(basis, mutation.answered):
            self._counts["answers about items that the store lost"] += 1
        elif self._split(mutation.room, mutation.answered):
            self._counts[SPLIT] += 1
        else:
            text = f"untrue, as {basis} was acknowledged: {mutation}"
            self._truth.violate(Kind.UNTRUE, text)

    def _judge_result(self, mutation: Mutation) -> None:
        chain = self._truth.chains[mutation.room]
        states = chain.at(mutation.version or 0)
        if any(_fits(mutation, state, chain.parent(state)) for state in states):
            self._counts["results checked"] += 1
        elif not states or self._lossy(mutation.room):  # of two of a version, one may be unseen
            self._counts["results of states that nobody was shown"] += 1
        else:
            text = f"the result fits no state of its version: {mutation}, {states}"
            self._truth.violate(Kind.RESULT, text)

    def judge_totals(self) -> None:
        """No two changes of a ledger were told the same total."""
        told = Counter(
            (mutation.room, mutation.result[1])
            for mutation in self._truth.open
            if mutation.room.startswith("ledger/") and mutation.result
        )
        for (room, total), times in told.items():
            if times > 1 and not self._lossy(room):
                text = f"{times} changes of {room} were told that they make {total}"
                self._truth.violate(Kind.RESULT, text)

    # Whether clients were shown one chain, in its order

    def judge_chain(self, room: str, chain: Chain, kept: set[bytes]) -> None:
        """`kept` are the commits that the store has not lost."""
        for version in chain.forks():
            if not self._lossy(room):
                text = f"{room} had several states of version {version}"
                self._truth.violate(Kind.WRONG, text)
        for doubt in self._truth.doubts:
            if doubt.room == room:
                self._judge_doubt(doubt, chain, kept)

    def _judge_doubt(self, doubt: Doubt, chain: Chain, kept: set[bytes]) -> None:
        losses = [
            loss
            for loss in self._truth.losses
            if loss.concerns(doubt.room) and loss.began <= doubt.at
        ]
        missing = [self._known(doubt, number) for number in doubt.missing]
        if doubt.missing:
            # What was lost may be there in the end, as a worker repeats what was not answered.
            lost = all(self._covered(each, doubt.at) for each in missing)
        else:
            lost = any(loss.since <= chain.seen(doubt.tags[0]) for loss in losses)
        if losses and (lost or not kept.issuperset(doubt.tags)):
            self._counts[LOST_CHAIN] += 1
        elif self._split(doubt.room, doubt.at):
            self._counts[SPLIT] += 1
        else:
            text = f"{doubt.text}; {missing or ''}; losses: {losses}"
            self._truth.violate(doubt.kind, text)

    def _known(self, doubt: Doubt, number: int) -> Mutation:
        """A client's change: of this round, or acknowledged before it."""
        for each in self._truth.open:
            place = each.client, each.room, each.number
            if place == (doubt.client, doubt.room, number) and not each.is_command:
                return each
        before = self._truth.rested
        return Mutation(doubt.client, doubt.room, number, issued=before, acknowledged=before)


def _fits(mutation: Mutation, state: State, parent: State | None) -> bool:
    """Whether a result is one of an action that ran for this state; others may share its commit."""
    if not mutation.writes:
        return _was_there(mutation.owner, mutation.result, state, parent)
    own, *totals = mutation.result
    line, number = state.lines.get(mutation.client, []), mutation.number
    earlier = held([[first, min(last, number)] for first, last in line if first <= number])
    fits = holds(line, number) and own == earlier
    if parent is not None:
        fits = fits and not holds(parent.lines.get(mutation.client, []), number)
    return fits and all(
        total <= state.total and (parent is None or total > parent.total) for total in totals
    )


def _was_there(owner: str, number: int, state: State, parent: State | None) -> bool:
    """Whether an item was there in a state, or while the changes of its commit were made."""
    if state.items.get(owner) == number:
        return True
    before = parent is None or parent.items.get(owner) == number
    put_now = parent is not None and not holds(parent.lines.get(owner, []), number)
    return holds(state.lines.get(owner, []), number) and (before or put_now)
