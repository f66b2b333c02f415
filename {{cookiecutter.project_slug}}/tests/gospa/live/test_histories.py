"""What a client is shown and told over time while it moves between workers that are behind."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as some

from gospa.app import Backends
from gospa.errors import RoomError
from gospa.live.batch import Mutation
from gospa.live.local_room import LocalRoom
from gospa.live.mutations import MutationQueue, QueueOptions
from gospa.live.newest import Newest
from gospa.live.replica import Replica
from gospa.live.sequence import Applied, MutationSequence, Outcome
from gospa.settings import Settings
from gospa.store import contract
from gospa.store.codec import pack, unpack
from gospa.store.contract import ABSENT, Change, StateStore
from gospa.store.draft import Draft
from tests.gospa.live.late import NAMES, opened
from tests.gospa.live.worker import Seat

WORKERS, CLIENTS = 2, 3


class Client:
    """Puts something that is its own into the room, and takes it away."""

    def __init__(self, number: int) -> None:
        self.key = f"own/{number}"
        self.put = 0  # the number under which it is there; 0 if it is not
        self.newest = 0  # version that was shown or acknowledged
        self._number = 0
        self._screen = Seat()
        self._seen = 0  # messages that were checked
        self._shown = 0  # version

    async def move(self, room: LocalRoom, *, forgets: bool) -> None:
        """Join over a new connection; with or without the tag of what it was shown."""
        before, self._screen, self._seen = self._screen, Seat(), 0
        self._screen.resume(before)
        self._sequence = MutationSequence(self.key, 60)
        self._room, tag = room, None if forgets else before.tag
        await room.catch_up(self.newest, tag)
        room.join(self._screen, self._screen.writer, tag)
        kind, _, version, *_ = self._screen.messages[0]
        assert kind == 1 or version >= self.newest, "older than what was shown or acknowledged"
        self.look()
        assert self._screen.state.get(self.key, 0) == self.put

    def look(self) -> None:
        """Check the order of what it was shown."""
        new, self._seen = self._screen.messages[self._seen :], len(self._screen.messages)
        for _, _, version, *_ in new:
            assert version >= self._shown, "an older state than the one before"
            self._shown = version
            self.newest = max(self.newest, version)

    async def toggle(self) -> None:
        """Put it there, or take it away: neither may be refused."""
        self._number += 1
        number, there = self._number, bool(self.put)

        def change(draft: Draft) -> int:
            if (draft.get(self.key) is not None) != there:
                raise RoomError("it is not as its client left it")
            if there:
                draft.delete(self.key)
            else:
                draft.set(self.key, pack(number))
            return number

        outcome = await self._call(self._sequence, number, change)
        assert isinstance(outcome, Applied), outcome
        assert outcome.result == number
        self.put = 0 if there else number
        self.newest = max(self.newest, outcome.version)

    async def find(self, other: "Client") -> None:
        """Ask for what another client has there, which is known here from elsewhere."""

        def find(draft: Draft) -> int:
            raw = draft.get(other.key)
            if raw is None:
                raise RoomError("it is not there")
            return int(unpack(raw))

        outcome = await self._call(None, 1, find)
        if other.put:
            assert isinstance(outcome, Applied), outcome
            assert outcome.result == other.put
        else:
            assert isinstance(outcome, RoomError), outcome

    async def _call(
        self, sequence: MutationSequence | None, number: int, run: Callable[[Draft], Any]
    ) -> Outcome:
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._room.mutations.submit(Mutation(sequence, number, run, done.set_result))
        return await done


Step = tuple[Any, ...]
MOVES = some.tuples(
    some.just("move"), some.integers(0, CLIENTS - 1), some.integers(0, WORKERS - 1), some.booleans()
)
STEPS = some.one_of(
    MOVES,
    some.tuples(some.just("toggle"), some.integers(0, CLIENTS - 1)),
    some.tuples(some.just("find"), some.integers(0, CLIENTS - 1), some.integers(0, CLIENTS - 1)),
    some.tuples(some.just("deliver"), some.integers(0, WORKERS - 1), some.integers(1, 3)),
)


async def play(settings: Settings, backends: Backends, steps: Sequence[Step]) -> None:
    async with AsyncExitStack() as stack:
        pubsub = await stack.enter_async_context(backends.pubsub.open(settings))
        store = await stack.enter_async_context(backends.state.open(settings, pubsub))
        workers = await stack.enter_async_context(opened(next(NAMES), store, pubsub, WORKERS))
        clients = [Client(number) for number in range(CLIENTS)]
        for number, client in enumerate(clients):
            await client.move(workers[number % WORKERS][0], forgets=True)
        for step in steps:
            match step:
                case ("move", client, worker, forgets):
                    await clients[client].move(workers[worker][0], forgets=forgets)
                case ("toggle", client):
                    await clients[client].toggle()
                case ("find", client, other):
                    await clients[client].find(clients[other])
                case ("deliver", worker, count):
                    workers[worker][1].deliver(count)
            for each in clients:
                each.look()


@how(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=some.lists(STEPS, max_size=30))
def test_a_client_that_moves_is_shown_and_told_what_is_true_by_now(
    settings: Settings, backends: Backends, steps: Sequence[Step]
) -> None:
    asyncio.run(play(settings, backends, steps))


class Slow:
    """A store whose commits arrive when they are let through."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self.through = asyncio.Event()
        self.sent = asyncio.Event()

    async def commit(self, room: str, change: Change) -> contract.Outcome:
        self.sent.set()
        await self.through.wait()
        return await self._store.commit(room, change)


async def test_what_was_refused_is_not_applied_by_an_earlier_try(store: StateStore) -> None:
    """It was sent over two connections; the first worker's commit arrives after the refusal."""
    name, slow = next(NAMES), Slow(store)
    outcomes: dict[str, Outcome] = {}

    async def run(who: str, action: Callable[[Draft], Any], to: Any, connection: str = "") -> None:
        snapshot = await store.load(name) or ABSENT
        newest = Newest(lambda: Replica(snapshot), lambda patch, message: None)
        queue = MutationQueue(name, name, to, newest, QueueOptions())
        sequence = MutationSequence(who, 60)
        settle = partial(outcomes.__setitem__, connection or who)
        queue.submit(Mutation(sequence, 1, action, settle))
        await queue.idle.wait()
        await queue.close()

    def take(draft: Draft) -> None:
        if draft.get("item") is None:
            raise RoomError("it is not there")
        draft.delete("item")

    def put(draft: Draft) -> None:
        draft.set("item", pack(1))

    await run("one", put, store)
    first = asyncio.create_task(run("client", take, slow, "first"))
    await slow.sent.wait()
    await run("other", take, store)
    await run("client", take, store, "second")
    assert isinstance(outcomes["second"], RoomError)
    await run("again", put, store)
    slow.through.set()
    await first
    assert isinstance(outcomes["first"], RoomError), outcomes["first"]
    stored = await store.load(name)
    assert stored is not None
    assert stored.fields
