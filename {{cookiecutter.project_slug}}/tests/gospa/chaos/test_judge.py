"""What is judged a violation, and what is excused because the store had lost commits."""

import time
from typing import Any

import pytest

from gospa.store.contract import NO_TAG, Snapshot
from tests.gospa.chaos.chains import ALWAYS
from tests.gospa.chaos.epochs import check_chain
from tests.gospa.chaos.judge import LOST_CHAIN, SPLIT, judge
from tests.gospa.chaos.mutation import ORDER, Author, Mutation
from tests.gospa.chaos.sight import Sight
from tests.gospa.chaos.truth import Kind, Truth

LATER = float("inf")


@pytest.fixture
def truth() -> Truth:
    return Truth()


def kinds(truth: Truth) -> list[Kind]:
    return [violation.kind for violation in truth.violations]


class TestChanges:
    def issue(self, truth: Truth, *, acknowledged: float | None = None) -> Mutation:
        mutation = Mutation("c", "a", 1, issued=1.0, acknowledged=acknowledged)
        truth.open.append(mutation)
        return mutation

    def test_what_was_acknowledged_has_to_be_there(self, truth: Truth) -> None:
        self.issue(truth, acknowledged=2.0)
        judge(truth, {"a": {"c": [[1, 1]]}})
        assert not truth.violations
        judge(truth, {"a": {}})
        assert kinds(truth) == [Kind.LOST]

    def test_unless_the_store_lost_it(self, truth: Truth) -> None:
        self.issue(truth, acknowledged=2.0)
        truth.lost(1.5, "a")
        judge(truth, {"a": {}})
        assert not truth.violations

    @pytest.mark.parametrize(("since", "room"), [(2.5, "a"), (1.5, "b")])
    def test_and_then_and_there(self, truth: Truth, since: float, room: str) -> None:
        self.issue(truth, acknowledged=2.0)
        truth.lost(since, room)
        judge(truth, {"a": {}, "b": {}})
        assert kinds(truth) == [Kind.LOST]

    def test_what_was_refused_must_not_be_there(self, truth: Truth) -> None:
        self.issue(truth).refused = "conflict"
        judge(truth, {"a": {"c": [[1, 1]]}})
        assert kinds(truth) == [Kind.KEPT]

    def test_unless_an_earlier_try_may_have_been_applied(self, truth: Truth) -> None:
        mutation = self.issue(truth)
        mutation.refused, mutation.sent = "store_full", 2
        judge(truth, {"a": {"c": [[1, 1]]}})
        assert not truth.violations

    def test_everything_is_answered(self, truth: Truth) -> None:
        self.issue(truth)
        judge(truth, {"a": {}})
        assert kinds(truth) == [Kind.SILENT]

    @pytest.mark.parametrize(("second", "expected"), [([[1, 1]], []), ([], [Kind.LOST])])
    def test_a_command_is_there_with_both_of_its_steps(
        self, truth: Truth, second: list[list[int]], expected: list[Kind]
    ) -> None:
        self.issue(truth, acknowledged=2.0).kind = ORDER
        judge(truth, {"a": {"c.1": [[1, 1]], "c.2": second}})
        assert kinds(truth) == expected

    def test_one_that_was_refused_may_be_there_in_part(self, truth: Truth) -> None:
        mutation = self.issue(truth)
        mutation.kind, mutation.refused = ORDER, "conflict"
        judge(truth, {"a": {"c.1": [[1, 1]]}})
        assert not truth.violations

    @pytest.mark.parametrize("line", [[], [[1, 1]]])
    def test_what_nobody_can_know_may_be_either(self, truth: Truth, line: list[list[int]]) -> None:
        self.issue(truth).unknown = True
        judge(truth, {"a": {"c": line}})
        assert not truth.violations


class TestStates:
    """One client's: commits 1, 2 and 3 of the room are in the store; it is at 2."""

    def show(self, truth: Truth) -> Sight:
        sight = Sight("c", "a", truth)
        for version in (1, 2, 3):
            parent = tag(version - 1) if version > 1 else NO_TAG
            truth.shown("other", "a", (version, tag(version)), {"x": version}, parent)
        sight.shown((2, tag(2)), {"x": 2})
        return sight

    def judge(self, truth: Truth, line: list[list[int]] | None = None, head: int = 3) -> None:
        judge(truth, {"a": {"c": line or []}}, {"a": tag(head)})

    def test_a_newer_one_may_follow(self, truth: Truth) -> None:
        sight = self.show(truth)
        sight.shown((3, tag(3)), {"x": 3})
        self.judge(truth)
        assert not truth.violations

    def test_an_older_one_may_not(self, truth: Truth) -> None:
        self.show(truth).shown((1, tag(1)), {"x": 1})
        self.judge(truth)
        assert kinds(truth) == [Kind.BACK]

    def test_nor_if_the_store_lost_commits_later(self, truth: Truth) -> None:
        self.show(truth).shown((1, tag(1)), {"x": 1})
        truth.lost(ALWAYS, "a", began=LATER)
        self.judge(truth, head=1)
        assert kinds(truth) == [Kind.BACK]

    def test_nor_if_it_had_not_lost_these(self, truth: Truth) -> None:
        sight = self.show(truth)
        truth.lost(time.monotonic(), "a")
        sight.shown((1, tag(1)), {"x": 1})
        self.judge(truth)
        assert kinds(truth) == [Kind.BACK]

    def test_a_chain_that_was_lost_is_counted_apart(self, truth: Truth) -> None:
        truth.lost(ALWAYS, "a")
        self.show(truth).shown((1, tag(1)), {"x": 1})
        self.judge(truth, head=1)
        assert not truth.violations
        assert truth.counts[LOST_CHAIN] == 1

    def test_so_is_what_was_shown_while_a_server_was_replaced(self, truth: Truth) -> None:
        sight = self.show(truth)
        truth.lost(time.monotonic(), split=True)
        sight.shown((1, tag(1)), {"x": 1})
        self.judge(truth)
        assert not truth.violations
        assert truth.counts[SPLIT] == 1

    def test_two_of_one_version_are_no_chain(self, truth: Truth) -> None:
        self.show(truth)
        truth.shown("other", "a", (2, b"another"), {})
        self.judge(truth)
        assert kinds(truth) == [Kind.WRONG]

    def test_all_see_the_same_at_the_same_commit(self, truth: Truth) -> None:
        self.show(truth)
        truth.shown("other", "a", (2, tag(2)), {"x": 2})
        assert not truth.violations
        truth.shown("other", "a", (2, tag(2)), {"x": 3})
        assert kinds(truth) == [Kind.WRONG]

    def acknowledge(self, truth: Truth, sight: Sight, version: int) -> Mutation:
        mutation = Mutation("c", "a", 1)
        truth.open.append(mutation)
        truth.acknowledge(mutation, version, None)
        sight.acknowledged(mutation)
        return mutation

    def test_what_was_acknowledged_is_in_the_state_of_its_version(self, truth: Truth) -> None:
        sight = self.show(truth)
        self.acknowledge(truth, sight, 3)
        sight.shown((2, tag(2)), {"x": 2})
        sight.shown((4, tag(4)), {"lines/c": [[1, 1]]})
        self.judge(truth, [[1, 1]])
        assert not truth.violations
        self.acknowledge(truth, sight, 4)
        sight.shown((5, tag(5)), {"x": 5})
        self.judge(truth, [[1, 1]])
        assert kinds(truth) == [Kind.HIDDEN]

    def test_unless_the_store_lost_it_and_not_a_command_of_that_number(self, truth: Truth) -> None:
        sight = self.show(truth)
        command = Mutation("c", "a", 1, kind=ORDER)
        truth.open.append(command)
        self.acknowledge(truth, sight, 3)
        truth.lost(ALWAYS, "a")
        truth.acknowledge(command, None, None)
        command.issued = LATER
        sight.shown((3, tag(3)), {"x": 3})
        judge(truth, {"a": {"c.1": [[1, 1]], "c.2": [[1, 1]]}}, {"a": tag(3)})
        assert not truth.violations

    def test_and_in_every_snapshot_after_a_join(self, truth: Truth) -> None:
        sight = self.show(truth)
        self.acknowledge(truth, sight, 3)
        assert sight.rejoin() == 3
        sight.shown((2, b"another"), {})
        truth.lost(ALWAYS, "a", began=LATER)
        self.judge(truth, [[1, 1]])
        assert kinds(truth) == [Kind.BACK, Kind.BACK, Kind.HIDDEN]

    def test_patches_may_lead_to_it(self, truth: Truth) -> None:
        sight = self.show(truth)
        self.acknowledge(truth, sight, 4)
        sight.rejoin()
        sight.shown((3, tag(3)), {"x": 3}, tag(2))
        sight.shown((4, tag(4)), {"lines/c": [[1, 1]]}, tag(3))
        sight.joined({"lines/c": [[1, 1]]})
        self.judge(truth, [[1, 1]])
        assert not truth.violations

    def test_but_not_only_on_the_way(self, truth: Truth) -> None:
        sight = self.show(truth)
        self.acknowledge(truth, sight, 4)
        sight.rejoin()
        sight.shown((3, tag(3)), {"x": 3}, tag(2))
        sight.joined({"x": 3})
        self.judge(truth, [[1, 1]])
        assert kinds(truth) == [Kind.BACK, Kind.HIDDEN]


class TestAnswers:
    """One client puts an item on a shelf."""

    def put(self, truth: Truth, rng: Any) -> Author:
        author = Author("c", truth.shelves, rng)
        self.acknowledge(truth, self.issue(truth, author), [1])
        return author

    def issue(self, truth: Truth, author: Author) -> Mutation:
        mutation = author.issue("shelf/one")
        truth.open.append(mutation)
        return mutation

    def acknowledge(self, truth: Truth, mutation: Mutation, result: Any) -> None:
        truth.acknowledge(mutation, None, result)

    def judge(self, truth: Truth, line: list[list[int]]) -> None:
        judge(truth, {"shelf/one": {"c": line}})

    def test_who_put_it_there_may_take_it(self, truth: Truth, changes: Any) -> None:
        mutation = self.issue(truth, self.put(truth, changes))
        assert mutation.kind == "take"
        truth.refuse(mutation, "refused", "the item is not there")
        self.judge(truth, [[1, 1]])
        assert kinds(truth) == [Kind.UNTRUE]

    def test_unless_the_store_lost_it(self, truth: Truth, changes: Any) -> None:
        author = self.put(truth, changes)
        truth.lost(ALWAYS)
        truth.refuse(self.issue(truth, author), "refused", "the item is not there")
        self.judge(truth, [])
        assert not truth.violations

    def test_others_find_it(self, truth: Truth, questions: Any) -> None:
        self.put(truth, questions)
        mutation = self.issue(truth, Author("d", truth.shelves, questions))
        assert (mutation.kind, mutation.owner) == ("find", "c")
        truth.refuse(mutation, "refused", "the item is not there")
        self.judge(truth, [[1, 1]])
        assert kinds(truth) == [Kind.UNTRUE]

    def test_unless_it_is_being_taken(self, truth: Truth, questions: Any, changes: Any) -> None:
        author = self.put(truth, changes)
        asked = self.issue(truth, Author("d", truth.shelves, questions))
        taken = self.issue(truth, author)
        truth.refuse(asked, "refused", "the item is not there")
        self.acknowledge(truth, taken, [2])
        self.judge(truth, [[1, 2]])
        assert not truth.violations

    def test_nobody_finds_what_was_taken(self, truth: Truth, questions: Any, changes: Any) -> None:
        author = self.put(truth, changes)
        self.acknowledge(truth, self.issue(truth, author), [2])
        self.acknowledge(truth, self.issue(truth, Author("d", truth.shelves, questions)), 1)
        self.judge(truth, [[1, 2]])
        assert kinds(truth) == [Kind.UNTRUE]

    @pytest.mark.parametrize(("result", "fits"), [([2, 7], True), ([1, 7], False), ([2, 6], False)])
    def test_results_fit_the_state_of_their_version(
        self, truth: Truth, result: list[int], *, fits: bool
    ) -> None:
        state: dict[str, Any] = {"lines/c": [[1, 1]], "lines/d": [[1, 5]], "total": 6}
        truth.shown("d", "ledger/x", (4, tag(4)), state)
        truth.shown(
            "d", "ledger/x", (5, tag(5)), {**state, "lines/c": [[1, 2]], "total": 7}, tag(4)
        )
        mutation = Mutation("c", "ledger/x", 2)
        truth.open.append(mutation)
        truth.acknowledge(mutation, 5, result)
        judge(truth, {"ledger/x": {"c": [[1, 2]], "d": [[1, 5]]}})
        assert kinds(truth) == ([] if fits else [Kind.RESULT])


class TestEpochs:
    """A place was taken at commit 2, and something else was changed at commit 3."""

    def judge(self, truth: Truth, epoch: int, *, first: int = 1) -> None:
        states: dict[int, dict[str, Any]] = {1: {}, 2: {"places/x": 1}}
        states[3] = {**states[2], "filler": "x"}
        for version in range(first, 4):
            state, parent = states[version], tag(version - 1)
            truth.shown("c", "pool/x", (version, tag(version)), state, parent)
        truth.violations.clear()  # such a state has no size
        epochs = {"places": tag(epoch)} if epoch else {}
        check_chain(truth, "pool/x", Snapshot(3, tag(3), {}, epochs))

    @pytest.mark.parametrize(("epoch", "fits"), [(2, True), (1, False), (3, False), (0, False)])
    def test_it_is_that_of_the_last_commit_that_changed_which_items_there_are(
        self, truth: Truth, epoch: int, *, fits: bool
    ) -> None:
        self.judge(truth, epoch)
        assert kinds(truth) == ([] if fits else [Kind.EPOCH])

    def test_one_of_which_no_commit_was_shown_may_be_any(self, truth: Truth) -> None:
        self.judge(truth, 1, first=3)
        assert not truth.violations


def tag(version: int) -> bytes:
    return version.to_bytes(8)


class Rng:
    """Chances that always fall the same way."""

    def __init__(self, chance: float) -> None:
        self._chance = chance

    def random(self) -> float:
        return self._chance

    def choice(self, items: Any) -> Any:
        return items[0]


@pytest.fixture
def changes() -> Rng:
    """Has an author change something."""
    return Rng(0.9)


@pytest.fixture
def questions() -> Rng:
    """Has an author ask, once there is something to ask for."""
    return Rng(0.1)
