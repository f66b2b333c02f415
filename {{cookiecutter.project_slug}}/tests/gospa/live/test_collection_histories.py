"""What workers that are behind commit is what their actions do on the newest state."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as some

from gospa import Items, RoomError, State
from gospa.app import Backends
from gospa.live.batch import Mutation
from gospa.live.local_room import LocalRoom
from gospa.live.sequence import Applied, MutationSequence, Outcome
from gospa.settings import Settings
from gospa.state import values_of
from gospa.store import contract
from gospa.store.content import Content, collection_of
from gospa.store.contract import ABSENT, Change, Commit, Snapshot, StateStore
from gospa.store.draft import Draft, Run, run_all
from gospa.testing import until
from tests.gospa.live.late import NAMES, opened

WORKERS = 2
CAP, KEEP = 3, 2


class Listed(State):
    count: int = 0
    notes: Items[list[int]] = Items()
    log: Items[int] = Items(keep=KEEP)


def add(state: Listed, id: str) -> int:
    """Add an item unless there are too many: nobody may pass the limit."""
    if len(state.notes) >= CAP:
        raise RoomError("there are too many")
    state.notes[id] = [1]
    return len(state.notes)


def put(state: Listed, id: str) -> None:
    """Set an item without a look."""
    state.notes[id] = [2]


def edit(state: Listed, id: str) -> int:
    if id not in state.notes:
        raise RoomError("it is not there")
    state.notes[id].append(3)
    return len(state.notes[id])


def remove(state: Listed, id: str) -> None:
    if id not in state.notes:
        raise RoomError("it is not there")
    del state.notes[id]


def discard(state: Listed, id: str) -> None:
    state.notes.discard(id)


def count(state: Listed, _: str) -> int:
    return len(state.notes)


def list_all(state: Listed, _: str) -> dict[str, list[int]]:
    return {id: list(value) for id, value in state.notes.items()}


def clear(state: Listed, _: str) -> None:
    state.notes.clear()


def increase(state: Listed, _: str) -> int:
    state.count += 1
    return state.count


ACTIONS = [add, edit, remove, discard, count, list_all, clear, increase]


class Store:
    """Checks of each commit that it did what its actions do on the state before it."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._lock = asyncio.Lock()
        self.runs: dict[str, Run] = {}  # of each source
        self.expected: dict[str, Any] = {}  # its result, or error
        self.history = {ABSENT.tag: ABSENT}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, room: str, change: Change) -> contract.Outcome:
        async with self._lock:
            before = await self._store.load(room) or ABSENT
            outcome = await self._store.commit(room, change)
            after = await self._store.load(room) or ABSENT
        if isinstance(outcome, Commit):
            self._check(before, after, [each.source for each in change.mutations])
        else:
            assert after == before
        return outcome

    def _check(self, before: Snapshot, after: Snapshot, sources: Sequence[str]) -> None:
        runs = [self.runs[source] for source in sources]
        content = Content(before.fields, before.epochs)
        edits, results, error = run_all(runs, content, float("inf"))
        self.expected.update(zip(sources, results, strict=False))
        if error is not None:
            self.expected[sources[len(results)]] = error
        content.apply(edits.set, edits.delete, after.tag)
        assert content.copied() == (after.fields, after.epochs)
        came_or_went = {collection_of(key) for key in before.fields.keys() ^ after.fields.keys()}
        epochs = dict.fromkeys(came_or_went - {""}, after.tag)
        assert after.epochs == {**before.epochs, **epochs}
        self.history[after.tag] = after


async def call(room: LocalRoom, store: Store, action: Any, id: str) -> None:
    """Have an action run, and compare its outcome with that on the store's newest state."""

    def run(draft: Draft) -> Any:
        state = Listed.of(draft)
        result = action(state, id)
        values_of(state).finish()
        return result

    source = f"{len(store.runs)}"
    store.runs[source] = run
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    room.mutations.submit(Mutation(MutationSequence(source, 60), 1, run, done.set_result))
    outcome = await done
    expected = store.expected[source]
    if isinstance(expected, Exception):
        assert type(outcome) is type(expected)
    else:
        assert isinstance(outcome, Applied), outcome
        assert outcome.result == expected


def calls(actions: Sequence[Any]) -> some.SearchStrategy[list[tuple[Any, str]]]:
    ids = some.sampled_from(["a", "b", "c", "d", "e"])
    return some.lists(some.tuples(some.sampled_from(actions), ids), max_size=3)


def steps(actions: Sequence[Any]) -> some.SearchStrategy[list[Any]]:
    """What each worker does at once, and how many commits it receives after that."""
    each = some.tuples(calls(actions), some.integers(0, 3))
    return some.lists(some.tuples(*[each] * WORKERS), max_size=12)


async def play(settings: Settings, backends: Backends, history: Sequence[Any], cap: float) -> None:
    async with AsyncExitStack() as stack:
        pubsub = await stack.enter_async_context(backends.pubsub.open(settings))
        inner = await stack.enter_async_context(backends.state.open(settings, pubsub))
        checked, name = Store(inner), next(NAMES)
        store: Any = checked
        workers = await stack.enter_async_context(opened(name, store, pubsub, WORKERS))
        for step in history:
            wanted = zip(workers, step, strict=True)
            async with asyncio.TaskGroup() as group:
                for (room, _), (acts, _) in wanted:
                    for action, id in acts:
                        group.create_task(call(room, checked, action, id))
            for (room, late), (_, count) in zip(workers, step, strict=True):
                late.deliver(count)
                replica = room.follower.replica
                known = checked.history[replica.tag]
                assert replica.content.copied() == (known.fields, known.epochs)
        for stored in checked.history.values():
            assert sum(key.startswith("notes/") for key in stored.fields) <= cap


slow = how(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.slow
@slow
@given(history=steps(ACTIONS))
def test_a_limit_that_is_checked_by_counting_is_never_passed(
    settings: Settings, backends: Backends, history: Sequence[Any]
) -> None:
    asyncio.run(play(settings, backends, history, CAP))


@pytest.mark.slow
@slow
@given(history=steps([*ACTIONS, put, put]))
def test_also_blind_writes_come_out_as_on_the_newest_state(
    settings: Settings, backends: Backends, history: Sequence[Any]
) -> None:
    asyncio.run(play(settings, backends, history, float("inf")))


async def append(room: LocalRoom, value: int) -> str:
    """Append to the collection that keeps the newest; returns the id."""

    def run(draft: Draft) -> str:
        return Listed.of(draft).log.append(value)

    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    room.mutations.submit(Mutation(None, 0, run, done.set_result))
    outcome = await done
    assert isinstance(outcome, Applied), outcome
    return str(outcome.result)


async def play_appends(settings: Settings, backends: Backends, history: Sequence[Any]) -> None:
    async with AsyncExitStack() as stack:
        pubsub = await stack.enter_async_context(backends.pubsub.open(settings))
        store = await stack.enter_async_context(backends.state.open(settings, pubsub))
        name = next(NAMES)
        workers = await stack.enter_async_context(opened(name, store, pubsub, WORKERS))

        async def ids() -> list[str]:
            stored = await store.load(name) or ABSENT
            return sorted(key.removeprefix("log/") for key in stored.fields)

        appended: list[str] = []
        for number, (counts, delivered) in enumerate(history):
            rooms = [
                room for (room, _), count in zip(workers, counts, strict=True) for _ in range(count)
            ]
            appended += await asyncio.gather(*(append(room, number) for room in rooms))
            assert set((await ids())[-KEEP:]) == set(sorted(appended)[-KEEP:])
            for (_, late), count in zip(workers, delivered, strict=True):
                late.deliver(count)
        assert len(set(appended)) == len(appended)
        room, late = workers[0]
        newest = await store.load(name) or ABSENT

        async def caught_up() -> bool:
            late.deliver(100)
            return room.follower.replica.tag == newest.tag

        await until(caught_up)
        await append(room, 0)
        assert len(await ids()) == min(KEEP, len(appended) + 1)


counts = some.tuples(*[some.integers(0, 3)] * WORKERS)


@pytest.mark.slow
@slow
@given(history=some.lists(some.tuples(counts, counts), max_size=8))
def test_the_newest_of_those_that_are_kept_are_never_removed(
    settings: Settings, backends: Backends, history: Sequence[Any]
) -> None:
    """Workers that are behind leave a few more, until one that is not appends."""
    asyncio.run(play_appends(settings, backends, history))
