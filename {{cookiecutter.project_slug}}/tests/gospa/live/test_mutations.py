"""A room's queue of mutations, on a store that does what a test tells it."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextvars import Context, ContextVar
from functools import partial
from typing import Any

import msgpack
import pytest

from gospa import Items, State
from gospa.errors import RoomError, StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from gospa.live import mutations, wire
from gospa.live.answers import error_message
from gospa.live.batch import Mutation
from gospa.live.mutations import MutationQueue, QueueOptions
from gospa.live.newest import Newest
from gospa.live.replica import Replica
from gospa.live.sequence import Applied, MutationSequence, Outcome
from gospa.state import values_of
from gospa.store import contract
from gospa.store.codec import pack_fields, unpack_fields
from gospa.store.content import UNKNOWN_EPOCH, Content
from gospa.store.contract import (
    ABSENT,
    NO_TAG,
    Change,
    Commit,
    Conflict,
    Known,
    Moved,
    Record,
    Snapshot,
)
from gospa.store.draft import Draft, Run

TTL = 60.0


class Counted(State):
    count: int = 0
    title: str = "new"
    notes: Items[str] = Items()


Act = Callable[[Counted], Any]


def on(act: Act) -> Run:
    """A function of the state as one of a draft."""

    def run(draft: Draft) -> Any:
        state = Counted.of(draft)
        result = act(state)
        values_of(state).finish()
        return result

    return run


class Store:
    """Commits everything, unless `outcomes` has something else to do first."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.changes: list[Change] = []
        self.outcomes: list[contract.Outcome | Exception] = []

    async def commit(self, room: str, change: Change) -> contract.Outcome:
        self.changes.append(change)
        if self.outcomes:
            outcome = self.outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        before = self.snapshot or ABSENT
        if not change:
            return Commit(before.version, before.tag)
        content = Content(before.fields, before.epochs)
        content.apply(change.set, change.delete, change.tag)
        self.snapshot = Snapshot(before.version + 1, change.tag, *content.copied())
        return Commit(self.snapshot.version, before.tag)

    @property
    def commits(self) -> list[Change]:
        """The changes that write something; the others are questions."""
        return [change for change in self.changes if change]

    @property
    def state(self) -> dict[str, Any]:
        assert self.snapshot is not None
        return unpack_fields(self.snapshot.fields)


class Room:
    """A queue, whose worker's replica never hears of anything."""

    def __init__(self, **options: Any) -> None:
        self.store = Store()
        replica = Replica(ABSENT)
        newest = Newest(lambda: replica, lambda patch, message: None)
        store: Any = self.store
        self.queue = MutationQueue("a", "a", store, newest, QueueOptions(**options))
        self.answers: list[list[Any]] = []
        self.number = 0
        self.sequence = MutationSequence("c", TTL)

    def submit(self, run: Act) -> None:
        self.number += 1
        self.repeat(self.number, run)

    def repeat(self, number: int, run: Act) -> None:
        keep = partial(self._keep, number)
        self.queue.submit(Mutation(self.sequence, number, on(run), keep))

    async def together(self, *runs: Act) -> list[list[Any]]:
        """Each by a client of its own, as mutation 1, 2, ...; returns their answers."""
        for number, run in enumerate(runs, 1):
            sequence, keep = MutationSequence(f"c{number}", TTL), partial(self._keep, number)
            self.queue.submit(Mutation(sequence, number, on(run), keep))
        await self.queue.idle.wait()
        return self.answers

    async def run(self, run: Act) -> list[Any]:
        self.submit(run)
        await self.queue.idle.wait()
        return self.answers[-1]

    def _keep(self, number: int, outcome: Outcome) -> None:
        """As the client is told."""
        if isinstance(outcome, Applied):
            message = wire.ack(number, outcome.version, outcome.result)
        else:
            message = error_message(outcome, "a", number)
        self.answers.append(msgpack.unpackb(message, timestamp=3))


@pytest.fixture
def room() -> Room:
    return Room()


def add(state: Counted) -> int:
    state.count += 1
    return state.count


def refuse_all(_: Counted) -> None:
    raise RoomError("not now")


def look(state: Counted) -> int:
    return state.count


async def test_the_first_mutation_creates_the_room_with_what_it_sets(room: Room) -> None:
    assert await room.run(add) == [3, 1, 1, 1]
    assert room.store.state == {"count": 1}
    assert (room.store.changes[0].exists, room.store.changes[0].expect) == (False, {})


async def test_what_is_read_is_expected(room: Room) -> None:
    def rename_if_few(state: Counted) -> None:
        if len(state.notes) < 9 and "x" not in state.notes:
            state.title = "few"

    room.store.snapshot = Snapshot(7, b"othertag", {}, {"notes": b"tag-0005"})
    room.store.outcomes = [Moved(room.store.snapshot)]
    await room.run(rename_if_few)
    (_, change) = room.store.changes
    assert (change.exists, change.expect, change.expect_tag) == (True, {"notes/x": None}, None)
    assert change.expect_epochs == {"notes": b"tag-0005"}


async def test_one_after_another_each_sees_what_the_one_before_did(room: Room) -> None:
    for _ in range(50):
        room.submit(add)
    await room.queue.idle.wait()
    assert [answer[3] for answer in room.answers] == list(range(1, 51))
    assert room.queue.idle.is_set()


async def test_those_of_different_clients_that_wait_share_a_commit(room: Room) -> None:
    def rename(state: Counted) -> None:
        state.title = f"at {state.count}"

    answers = await room.together(add, add, rename, look)
    assert answers == [[3, 1, 1, 1], [3, 2, 1, 2], [3, 3, 1, None], [3, 4, 1, 2]]
    assert room.store.state == {"count": 2, "title": "at 2"}
    numbers = [(each.source, each.first) for each in room.store.changes[0].mutations]
    assert numbers == [("c1", 1), ("c2", 2), ("c3", 3), ("c4", 4)]


async def test_two_groups_of_clients_that_wait_for_their_answers_become_one(room: Room) -> None:
    loop, commit = asyncio.get_running_loop(), room.store.commit
    first, second = ([MutationSequence(f"{name}{n}", TTL) for n in range(2)] for name in "ab")

    def send(client: MutationSequence, number: int) -> None:
        room.queue.submit(Mutation(client, number, on(add), partial(answered, client, number)))

    def answered(client: MutationSequence, number: int, _: Outcome) -> None:
        if client in first and number == 1:  # it reads the answer, and sends the next one
            loop.call_soon(loop.call_soon, send, client, 2)

    async def commit_meanwhile(name: str, change: Change) -> contract.Outcome:
        if not room.store.changes:
            for client in second:
                send(client, 1)
        return await commit(name, change)

    room.store.commit = commit_meanwhile  # type: ignore[method-assign, assignment]
    for client in first:
        send(client, 1)
    await room.queue.idle.wait()
    assert [len(change.mutations) for change in room.store.commits] == [2, 4]


async def test_actions_that_take_long_leave_others_their_turn_between_commits(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutations, "BATCH_TIME", 0.0)
    answers = await room.together(add, add, add)
    assert answers == [[3, 1, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]


async def test_those_of_one_client_share_a_commit_in_their_order(room: Room) -> None:
    for _ in range(16):
        room.submit(add)
    await room.queue.idle.wait()
    assert [answer[1:] for answer in room.answers] == [[n, 1, n] for n in range(1, 17)]
    (change,) = room.store.changes
    assert [(each.first, each.last) for each in change.mutations] == [(1, 16)]


@pytest.mark.parametrize("numbers", [[5, 5], [5, 4]])
async def test_a_repeat_does_not_share_the_commit_of_the_first(
    room: Room, numbers: list[int]
) -> None:
    for number in numbers:
        room.repeat(number, add)
    other_connection = MutationSequence("c", TTL)
    room.queue.submit(Mutation(other_connection, 6, on(add), lambda _: None))
    await room.queue.idle.wait()
    assert [[each.last for each in change.mutations] for change in room.store.changes] == [
        *([number] for number in numbers),
        [6],
    ]


async def test_those_that_lost_together_run_again_together(room: Room) -> None:
    fresh = Snapshot(7, b"othertag", pack_fields({"count": 40, "title": "theirs"}))
    room.store.snapshot = fresh
    room.store.outcomes = [Moved(fresh)]
    assert await room.together(add, add) == [[3, 1, 8, 41], [3, 2, 8, 42]]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_that_fails_fails_alone(room: Room, place: int) -> None:
    def refuse(state: Counted) -> None:
        state.count = 99
        raise RoomError("no")

    runs: list[Act] = [add, add]
    runs.insert(place, refuse)
    answers = await room.together(*runs)
    assert [answer[:2] for answer in answers] == [[4 if i == place else 3, i + 1] for i in range(3)]
    assert room.store.state["count"] == 2


async def test_what_was_applied_or_refused_before_is_told_and_the_rest_applied(room: Room) -> None:
    """The client's connection broke after 16 was applied and 15 refused; it repeats them."""
    room.store.outcomes = [Known({"c": Record(16, 5, b"tag-0005", (15,))})]
    for number in (15, 16, 17):
        room.repeat(number, add)
    await room.queue.idle.wait()
    assert room.answers == [
        [4, 15, "refused", "this mutation was refused before", "a"],
        [3, 16, 5, None],
        [3, 17, 1, 1],
    ]
    assert room.store.state["count"] == 1


async def test_those_of_others_are_applied_beside_a_repeat(room: Room) -> None:
    room.store.outcomes = [Known({"c2": Record(2, 5, b"tag-0005")})]
    assert await room.together(add, add, add) == [[3, 2, 5, None], [3, 1, 1, 1], [3, 3, 1, 2]]


async def test_a_store_that_is_away_puts_all_off(room: Room) -> None:
    room.store.outcomes = [StoreUnavailable("away")]
    answers = await room.together(add, add)
    assert [answer[:3] for answer in answers] == [[4, n, "unavailable"] for n in (1, 2)]


async def test_what_changes_nothing_is_answered_on_the_newest_values_and_writes_nothing(
    room: Room,
) -> None:
    assert await room.run(look) == [3, 1, 0, 0]
    room.store.snapshot = Snapshot(7, b"othertag", pack_fields({"count": 40}))
    room.store.outcomes = [Moved(room.store.snapshot), Conflict(pack_fields({"count": 41}))]
    assert await room.run(look) == [3, 2, 7, 41]
    assert room.store.commits == []
    assert [change.expect for change in room.store.changes] == [
        {},
        {},
        pack_fields({"count": 40}),
        pack_fields({"count": 41}),
    ]


def refuse_above_one(state: Counted) -> None:
    if state.count > 1:
        raise RoomError("too many")
    state.count += 1


async def test_a_refusal_is_true_of_the_newest_values_in_the_store(room: Room) -> None:
    """This worker's replica is behind: what it would refuse is allowed by now, or the contrary."""
    room.store.snapshot = Snapshot(7, b"othertag", pack_fields({"count": 5}))
    room.store.outcomes = [Moved(room.store.snapshot)]
    assert await room.run(refuse_above_one) == [4, 1, "refused", "too many", "a"]
    room.store.outcomes = [Moved(room.store.snapshot), Conflict(pack_fields({"count": 0}))]
    assert await room.run(refuse_above_one) == [3, 2, 8, None]
    assert room.store.state["count"] == 1


async def test_a_refusal_over_the_rooms_size_is_true_of_the_whole_room() -> None:
    room = Room(size=100)
    room.store.snapshot = Snapshot(7, b"othertag", pack_fields({"count": 5}))
    room.store.outcomes = [Moved(room.store.snapshot)]

    def write(state: Counted) -> None:
        state.title = "x" * 100

    assert (await room.run(write))[:3] == [4, 1, "internal"]
    assert [change.expect_tag for change in room.store.changes] == [None, b"othertag"]


async def test_a_repeat_is_acknowledged_whatever_its_action_says_by_then(room: Room) -> None:
    def refuse(state: Counted) -> None:
        raise RoomError("there is a note with this id")

    room.store.outcomes = [Known({"c": Record(1, 5)})]
    assert await room.run(refuse) == [3, 1, 5, None]


async def test_a_refusal_waits_for_a_store_that_is_away(room: Room) -> None:
    def refuse(state: Counted) -> None:
        raise RoomError("no")

    room.store.outcomes = [StoreUnavailable("away")]
    assert (await room.run(refuse))[:3] == [4, 1, "unavailable"]


async def test_who_lost_runs_again_on_the_values_that_differ(room: Room) -> None:
    room.store.snapshot = Snapshot(7, b"othertag", pack_fields({"count": 40, "title": "theirs"}))
    room.store.outcomes = [Moved(room.store.snapshot), Conflict(pack_fields({"count": 50}))]
    assert await room.run(add) == [3, 1, 8, 51]
    assert room.store.state == {"count": 51, "title": "theirs"}
    assert [change.attempt for change in room.store.changes] == [0, 1, 2]


async def test_after_a_conflict_over_an_item_who_counts_gets_the_whole_room(room: Room) -> None:
    """A conflict tells that the item is there, and not what else came or went."""

    def add_to(state: Counted) -> int:
        state.notes["a"] = state.notes.get("a", "") + "!"
        return len(state.notes)

    room.store.snapshot = Snapshot(7, b"othertag", {}, {"notes": b"tag-0005"})
    both = Snapshot(9, b"tag-0009", pack_fields({"notes/a": "x", "notes/b": ""}), {"notes": b"9"})
    room.store.outcomes = [
        Moved(room.store.snapshot),
        Conflict(pack_fields({"notes/a": "x"})),
        Moved(both),
    ]
    assert (await room.run(add_to))[3] == 2
    epochs = [change.expect_epochs.get("notes") for change in room.store.changes]
    assert epochs == [None, b"tag-0005", UNKNOWN_EPOCH, b"9"]


async def test_after_a_conflict_a_refusal_over_the_rooms_size_gets_the_whole_room() -> None:
    """The state that it ran on is mixed of several, so no tag stands for it."""
    room = Room(size=150)

    def write(state: Counted) -> None:
        state.count += 1
        state.title = "x" * 100

    room.store.snapshot = Snapshot(7, b"othertag", pack_fields({"count": 40}))
    room.store.outcomes = [
        Moved(room.store.snapshot),
        Conflict(pack_fields({"count": 50})),
        Moved(room.store.snapshot),
    ]
    assert (await room.run(write))[:3] == [4, 1, "internal"]
    tags = [change.expect_tag for change in room.store.changes]
    assert tags == [None, b"othertag", NO_TAG, b"othertag"]


async def test_a_room_that_is_gone_meanwhile_begins_again(room: Room) -> None:
    room.store.outcomes = [Moved(None)]
    assert await room.run(add) == [3, 1, 1, 1]


async def test_who_loses_for_too_long_is_told(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutations, "RETRY_TIME", 0.02)

    async def lose(*_: Any) -> Conflict:
        return Conflict(pack_fields({"count": 40}))

    monkeypatch.setattr(room.store, "commit", lose)
    assert (await room.run(add))[:3] == [4, 1, "conflict"]


async def test_a_repeated_mutation_is_acknowledged_without_a_result(room: Room) -> None:
    room.store.outcomes = [Known({"c": Record(1, 5)})]
    assert await room.run(add) == [3, 1, 5, None]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreFull("full"), "store_full"),
        (StoreError("odd"), "internal"),
    ],
)
async def test_a_store_that_fails_is_an_error_and_the_queue_goes_on(
    room: Room, error: StoreError, code: str
) -> None:
    room.store.outcomes = [error]
    assert (await room.run(add))[:3] == [4, 1, code]
    assert await room.run(add) == [3, 2, 1, 1]


async def test_what_the_store_did_not_answer_is_not_overtaken(room: Room) -> None:
    room.store.outcomes = [StoreUnavailable("away")]
    for _ in range(3):
        room.submit(add)
    await room.queue.idle.wait()
    assert [answer[:3] for answer in room.answers] == [[4, n, "unavailable"] for n in (1, 2, 3)]
    for number in (2, 1, 2, 3):
        room.repeat(number, add)
    await room.queue.idle.wait()
    assert room.answers[3][:3] == [4, 2, "unavailable"]
    assert room.answers[4:] == [[3, 1, 1, 1], [3, 2, 1, 2], [3, 3, 1, 3]]


async def test_the_store_is_told_which_were_refused(room: Room) -> None:
    def refuse(state: Counted) -> None:
        raise RoomError("no")

    await room.run(refuse)
    await room.run(add)
    assert list(room.store.changes[-1].mutations[0].refused) == [1]


async def test_the_store_is_told_once_which_were_refused(room: Room) -> None:
    for run in (refuse_all, add, add):
        await room.run(run)
    told = [[*change.mutations[0].refused] for change in room.store.changes]
    assert told == [[1], [1], []]


async def test_what_the_store_knows_as_refused_is_refused_again(room: Room) -> None:
    room.store.outcomes = [Known({"c": Record(1, 5, b"", (1,))})]
    assert (await room.run(add))[:3] == [4, 1, "refused"]


async def test_a_needless_repeat_holds_nothing_up(room: Room) -> None:
    await room.run(add)
    room.store.outcomes = [StoreUnavailable("away")]
    room.repeat(1, add)
    await room.queue.idle.wait()
    assert (await room.run(add))[:3] == [3, 2, 2]


async def test_one_that_was_put_off_and_then_refused_holds_nothing_up(room: Room) -> None:
    room.store.outcomes = [StoreUnavailable("away"), StoreFull("full")]
    await room.run(add)
    room.repeat(1, add)
    await room.queue.idle.wait()
    assert (await room.run(add))[:3] == [3, 2, 1]


async def test_an_action_that_refuses_or_fails_changes_nothing(room: Room) -> None:
    def refuse(state: Counted) -> None:
        state.count = 99
        raise RoomError("not now")

    def fail(state: Counted) -> None:
        state.count = 99
        raise ZeroDivisionError

    def give_what_state_cannot_hold(state: Counted) -> None:
        state.title = "\ud800"

    assert await room.run(refuse) == [4, 1, "refused", "not now", "a"]
    assert (await room.run(fail))[:3] == [4, 2, "internal"]
    assert (await room.run(give_what_state_cannot_hold))[:3] == [4, 3, "internal"]
    assert room.store.commits == []
    assert await room.run(add) == [3, 4, 1, 1]


async def test_what_is_seen_published_is_done_though_the_store_gives_no_answer(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = room.store.commit

    async def lose_the_answer(key: str, change: Change) -> contract.Outcome:
        await commit(key, change)
        room.queue.published(change.tag, 1)
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(room.store, "commit", lose_the_answer)
    assert await room.run(add) == [3, 1, 1, 1]
    monkeypatch.undo()
    assert (await room.run(look))[:2] == [3, 2], "it waits for a repetition that never comes"
    assert len(room.answers) == 2


async def test_a_refusal_whose_text_is_not_unicode_stops_nothing(room: Room) -> None:
    def refuse(_: Counted) -> None:
        raise RoomError("no item \ud800")

    assert await room.run(refuse) == [wire.ERROR, 1, "refused", "no item ?", "a"]
    assert await room.run(add) == [wire.ACK, 2, 1, 1]


async def test_an_outcome_that_cannot_be_told_stops_no_other(room: Room) -> None:
    def fail(_: Outcome) -> None:
        raise OSError("nobody is told")

    room.queue.submit(Mutation(MutationSequence("d", TTL), 1, on(refuse_all), fail))
    async with asyncio.timeout(40):
        assert await room.run(add) == [wire.ACK, 1, 1, 1]


async def test_a_closed_queue_leaves_no_task_and_nobody_waiting(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    committing = asyncio.Event()

    async def hang(*_: Any) -> Commit:
        committing.set()
        await asyncio.Event().wait()
        raise AssertionError

    before = asyncio.all_tasks()
    monkeypatch.setattr(room.store, "commit", hang)
    for _ in range(mutations.MAX_BATCH + 1):
        room.submit(add)
    await committing.wait()
    await room.queue.close()
    room.submit(add)
    assert {tuple(answer[2:3]) for answer in room.answers} == {("unavailable",)}
    assert len(room.answers) == mutations.MAX_BATCH + 2
    assert asyncio.all_tasks() == before


class Gathered(MutationSequence):
    """Counts how often its mutation is taken into a batch."""

    times = 0

    def blocks(self, number: int, before: int) -> bool:
        self.times += 1
        return super().blocks(number, before)


async def test_mutations_after_refused_ones_are_not_gathered_each_time(room: Room) -> None:
    runs = [refuse_all, add] * mutations.MAX_BATCH
    sequences = [Gathered(f"c{number}", TTL) for number, _ in enumerate(runs)]
    for sequence, run in zip(sequences, runs, strict=True):
        room.queue.submit(Mutation(sequence, 1, on(run), partial(room._keep, 1)))  # noqa: SLF001
    await room.queue.idle.wait()
    assert room.store.state["count"] == mutations.MAX_BATCH
    assert max(sequence.times for sequence in sequences[mutations.MAX_BATCH :]) <= 2 * mutations.FEW


async def test_mutations_share_large_commits_again_after_a_refused_one(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutations, "BATCH_TIME", 3600.0)
    await room.together(add, refuse_all, *[add] * (4 * mutations.MAX_BATCH))
    sizes = [len(change.mutations) for change in room.store.changes]
    assert (sizes[:2], max(sizes)) == ([1, 1], mutations.MAX_BATCH)


async def test_mutations_without_a_number_share_a_commit_and_leave_no_record(room: Room) -> None:
    outcomes: list[Any] = []
    for _ in range(3):
        room.queue.submit(Mutation(None, 0, on(add), outcomes.append))
    await room.queue.idle.wait()
    assert [(each.version, each.result) for each in outcomes] == [(1, 1), (1, 2), (1, 3)]
    assert [change.mutations for change in room.store.changes] == [[]]


@pytest.mark.parametrize(("run", "refused"), [(look, []), (add, []), (refuse_all, [1])])
async def test_every_outcome_is_recorded_so_that_no_lost_try_is_applied_after_it(
    room: Room, run: Act, refused: list[int]
) -> None:
    await room.run(run)
    (change,) = room.store.changes
    assert [(each.last, each.ttl, each.refused) for each in change.mutations] == [(1, TTL, refused)]


@pytest.mark.parametrize(("run", "recorded"), [(look, True), (add, True), (refuse_all, False)])
async def test_a_refused_call_leaves_no_record_of_its_key(
    room: Room, run: Act, recorded: bool
) -> None:
    sequence = MutationSequence("once", TTL, record_refusals=False)
    room.queue.submit(Mutation(sequence, 1, on(run), lambda _: None))
    await room.queue.idle.wait()
    (change,) = room.store.changes
    assert bool(change.mutations[0].ttl) is recorded


async def test_an_action_that_takes_long_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = Room(slow=0.0)
    room.queue.submit(Mutation(None, 0, on(add), lambda _: None, name="add"))
    await room.queue.idle.wait()
    assert "add in room a took" in caplog.text


@pytest.mark.parametrize("clocked", [True, False])
async def test_a_room_that_is_saved_has_the_store_begin_with_its_clock(clocked: bool) -> None:
    room = Room(clocked=clocked)
    await room.run(add)
    assert [change.clocked for change in room.store.changes] == [clocked]


async def test_the_queue_keeps_nothing_of_the_request_that_came_first(room: Room) -> None:
    class Kept:
        """As Sanic keeps the request, with its body."""

    variable: ContextVar[Kept | None] = ContextVar("variable")
    kept = Kept()
    seen = weakref.ref(kept)
    context = Context()
    context.run(variable.set, kept)
    context.run(room.submit, add)
    await room.queue.idle.wait()
    del context, kept
    gc.collect()
    assert seen() is None


async def test_a_record_that_cannot_be_read_harms_its_own_source_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room, commit = Room(), Store.commit

    async def refuse(store: Store, key: str, change: Change) -> contract.Outcome:
        if any(mutations.source == "spoilt" for mutations in change.mutations):
            raise StoreCorrupt("the record of a source")
        return await commit(store, key, change)

    monkeypatch.setattr(Store, "commit", refuse)
    outcomes = dict[str, Outcome]()
    for source in ("a", "spoilt", "b", "c"):
        settle = partial(outcomes.__setitem__, source)
        room.queue.submit(Mutation(MutationSequence(source, TTL), 1, on(increase), settle))
    await asyncio.wait_for(room.queue.idle.wait(), 30)
    assert isinstance(outcomes.pop("spoilt"), StoreCorrupt)
    assert all(isinstance(each, Applied) for each in outcomes.values())
    assert room.store.state["count"] == 3
    await room.queue.close()


def increase(state: Counted) -> None:
    state.count += 1
