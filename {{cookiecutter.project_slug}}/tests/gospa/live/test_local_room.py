"""A room's copy in a worker stays true, whatever becomes of the messages that feed it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from gospa import tasks
from gospa.errors import StoreUnavailable
from gospa.live import local_room, wire, writer
from gospa.live.local_room import LocalRoom, RoomContext
from gospa.live.mutations import Mutation, MutationSequence
from gospa.live.replica import Replica
from gospa.pubsub import OnGap, OnMessage, PubSub, Subscription
from gospa.stats import Stats
from gospa.store.contract import Snapshot, StateStore, splice
from gospa.testing import until
from tests.gospa.live.screen import Screen
from tests.gospa.rooms import Sheet

KEY = "sheet/a"


class Unreliable:
    """A bus that does to messages what `arrive` says: by default delivers them."""

    connected = True

    def __init__(self, pubsub: PubSub) -> None:
        self.publish = pubsub.publish
        self._pubsub = pubsub
        self.arrive: Callable[[bytes, OnMessage], None] = lambda m, on: on(m)

    async def subscribe(self, channel: str, on_message: OnMessage, on_gap: OnGap) -> Subscription:
        self.deliver = on_message
        return await self._pubsub.subscribe(channel, lambda m: self.arrive(m, on_message), on_gap)


class Watched:
    """A store that counts loads and can be away."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self.loads = 0
        self.questions = 0
        self.away = False
        self.open = asyncio.Event()  # for answers about tags
        self.open.set()
        self.meanwhile: list[Callable[[], object]] = []  # what happens while the room is loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def latest_tags(self, rooms: Sequence[str]) -> dict[str, bytes]:
        self.questions += 1
        tags = await self._store.latest_tags(rooms)
        await self.open.wait()
        return tags

    async def load(self, room: str) -> Snapshot | None:
        self.loads += 1
        if self.away:
            raise StoreUnavailable("away")
        snapshot = await self._store.load(room)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return snapshot


class Worker:
    """A room in a worker of its own, with a member who looks at it."""

    def __init__(self, store: StateStore, pubsub: PubSub) -> None:
        self.bus = Unreliable(pubsub)
        self.store = Watched(store)
        watched: Any = self.store
        context = RoomContext("worker", watched, self.bus, self._compare_soon)
        self.room = LocalRoom(KEY, Sheet(KEY, {"name": "a"}), context)
        self.screen = Screen()
        self.answers: list[Any] = []
        self._comparing = list[asyncio.Task[None]]()

    async def open(self) -> None:
        await self.room.open()
        self.room.join(self.screen, self.screen.writer, None)

    async def close(self) -> None:
        await tasks.stop(*self._comparing)
        await self.room.close()

    async def compare(self) -> None:
        """What the hub does with all its rooms, at intervals and after a gap."""
        since = self.room.replica.tag
        heads = await self.store.latest_tags([KEY])
        await self.room.compare(heads[KEY], since)

    def _compare_soon(self) -> None:
        self._comparing.append(tasks.start(self.compare(), "comparison"))

    async def add(self, amount: int = 1) -> None:
        """Have the member call `add`, and wait for the answer."""

        def run(draft: Any) -> int:
            draft["count"] += amount
            return int(draft["count"])

        before = len(self.answers)
        self.room.mutations.submit(
            Mutation(MutationSequence(os.urandom(16).hex(), 60), 1, run, self.answers.append)
        )
        await until(lambda: len(self.answers) > before)

    @property
    def count(self) -> int:
        return int(self.screen.state["count"])


@pytest.fixture
async def workers(store: StateStore, pubsub: PubSub) -> AsyncIterator[tuple[Worker, Worker]]:
    one, other = Worker(store, pubsub), Worker(store, pubsub)
    await one.open()
    await other.open()
    yield one, other
    await one.close()
    await other.close()


def lose(message: bytes, deliver: OnMessage) -> None:
    """What becomes of a message that is lost."""


Workers = tuple[Worker, Worker]


async def test_commits_reach_the_members_of_all_workers(workers: Workers) -> None:
    one, other = workers
    await one.add(1)
    await other.add(2)
    await until(lambda: one.count == other.count == 3)
    assert one.screen.kinds() == [0, 8, 1, 1]


async def test_a_lost_commit_is_noticed_at_the_next_and_the_room_loaded_once(
    workers: Workers, stats: Stats
) -> None:
    one, other = workers
    other.bus.arrive = lose
    await one.add(1)
    await until(lambda: one.count == 1)
    other.bus.arrive = lambda message, deliver: deliver(message)
    await one.add(2)
    await until(lambda: other.count == 3)
    assert other.store.loads == 2
    assert (stats.loads_missed, stats.loads_other) == (1, 0)
    assert other.screen.shown[-1] == one.screen.state


async def test_members_catch_up_also_where_loading_has_to_be_repeated(workers: Workers) -> None:
    one, other = workers
    other.bus.arrive = lose
    await one.add(1)
    later = splice(wire.patch_parts(KEY, b"tag-0009", {}, ()), 9, b"tag-0008")
    other.store.meanwhile = [lambda: other.bus.deliver(later)]
    other.bus.deliver(later)
    await until(lambda: other.count == 1)
    assert other.store.loads == 3


async def test_actions_see_what_the_store_holds_also_after_it_went_back(
    workers: Workers, store: StateStore
) -> None:
    one, _ = workers
    await one.add(5)
    await until(lambda: one.count == 5)
    await store.delete(KEY)
    await until(lambda: one.count == 0)
    await one.add(0)  # changes nothing, so that the store is not asked
    assert one.answers[-1].result == 0


async def test_the_last_commit_lost_is_noticed_by_comparing(workers: Workers) -> None:
    one, other = workers
    other.bus.arrive = lose
    await one.add(5)
    await other.compare()
    await until(lambda: other.count == 5)


async def test_a_message_that_comes_twice_changes_nothing(workers: Workers) -> None:
    one, other = workers

    def twice(message: bytes, deliver: OnMessage) -> None:
        deliver(message)
        deliver(message)

    other.bus.arrive = twice
    await one.add(1)
    await one.add(1)
    await until(lambda: other.count == 2)
    assert other.screen.kinds() == [0, 8, 1, 1]
    assert other.store.loads == 1


async def test_messages_out_of_order_never_show_a_state_that_was_not(workers: Workers) -> None:
    one, other = workers
    held: list[bytes] = []

    def swap(message: bytes, deliver: OnMessage) -> None:
        held.append(message)
        if len(held) == 2:
            deliver(held[1])
            deliver(held[0])
            held.clear()

    other.bus.arrive = swap
    for _ in range(6):
        await one.add(1)
    await until(lambda: other.count == 6)
    counts = [state["count"] for state in other.screen.shown]
    assert counts == sorted(counts)


async def test_a_store_that_went_back_is_followed(workers: Workers, store: StateStore) -> None:
    one, other = workers
    for _ in range(3):
        await one.add(1)
    await until(lambda: other.count == 3)
    await store.delete(KEY)
    await until(lambda: one.count == other.count == 0)
    await one.add(7)
    await until(lambda: one.count == other.count == 7)


async def test_messages_that_are_none_of_ours_do_no_harm(workers: Workers, pubsub: PubSub) -> None:
    one, other = workers
    for message in (b"\xc1", b"\x97\x01", b"\x94\x03\xa1a\xa1b\x01", os.urandom(64)):
        await pubsub.publish(f"{{{KEY}}}", message)
    await one.add(1)
    await until(lambda: one.count == other.count == 1)


async def test_while_the_store_is_away_the_room_stays_readable_and_then_recovers(
    workers: Workers,
) -> None:
    one, other = workers
    other.bus.arrive = lose
    await one.add(1)
    other.store.away = True
    other.bus.arrive = lambda message, deliver: deliver(message)
    await one.add(1)
    await until(lambda: other.store.loads >= 3)
    late = Screen()
    other.room.join(late, late.writer, None)
    assert late.state["count"] == 0  # an old state, and a true one
    other.store.away = False
    await until(lambda: other.count == 2)
    assert late.state == other.screen.state == one.screen.state


async def test_who_comes_back_gets_what_was_missed_and_nothing_else(workers: Workers) -> None:
    one, _ = workers
    await one.add(1)
    await until(lambda: one.count == 1)
    back = Screen()
    back.resume(one.screen)
    await one.add(1)
    await until(lambda: one.count == 2)
    one.room.join(back, back.writer, back.tag)
    assert back.kinds() == [1, 8]
    assert back.state == one.screen.state


async def test_who_was_behind_gets_no_commit_twice(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WRITE", 0.2)  # so that some commits still wait to be sent
    monkeypatch.setattr(writer, "WINDOW", 0.2)
    one, _ = workers
    one.screen.writer.pause(0)
    for _ in range(3):
        await one.add(1)
    one.screen.writer.resume()
    await one.add(1)
    await until(lambda: one.count == 4)
    assert one.screen.kinds() == [0, 8, 0, 1]


async def test_an_event_reaches_all_members_and_is_not_kept(workers: Workers) -> None:
    one, other = workers
    await one.room.send_event("wave", [1], "ann")
    await until(lambda: 2 in one.screen.kinds() and 2 in other.screen.kinds())
    assert other.screen.messages[-1] == [2, KEY, "wave", [1], "ann"]


# A client that reconnects to a worker whose replica is behind


async def test_a_client_is_shown_no_older_state_than_before(workers: Workers) -> None:
    one, behind = workers
    behind.bus.arrive = lose
    await one.add(1)
    await until(lambda: one.count == 1)
    back = Screen()
    back.resume(one.screen)
    await behind.room.catch_up(one.room.replica.version, back.tag)
    behind.room.join(back, back.writer, back.tag)
    assert back.state["count"] == 1
    assert all(state["count"] == 1 for state in back.shown)


async def test_a_client_is_shown_what_was_acknowledged_to_it(workers: Workers) -> None:
    """Its ACK came, and then the connection broke before the PATCH."""
    one, behind = workers
    behind.bus.arrive = lose
    shown = one.room.replica.tag
    await one.add(1)
    back = Screen()
    await behind.room.catch_up(one.answers[-1].version, shown)
    behind.room.join(back, back.writer, shown)
    assert back.state["count"] == 1


async def test_joins_of_a_storm_share_one_question_to_the_store(workers: Workers) -> None:
    one, behind = workers
    behind.bus.arrive = lose
    await one.add(1)
    await until(lambda: one.count == 1)
    before = behind.store.loads
    version, tag = one.room.replica.version, one.room.replica.tag
    await asyncio.gather(*(behind.room.catch_up(version, tag) for _ in range(2000)))
    assert (behind.store.loads - before, behind.store.questions) == (1, 1)


async def test_joins_are_served_from_memory_where_the_replica_is_not_behind(
    workers: Workers,
) -> None:
    one, other = workers
    await one.add(1)
    await until(lambda: one.count == other.count == 1)
    before = other.store.loads
    await other.room.catch_up(one.room.replica.version, one.room.replica.tag)
    await other.room.catch_up(0, None)
    assert (other.store.loads, other.store.questions) == (before, 0)


async def test_a_client_of_a_chain_that_the_store_lost_follows_the_store(
    workers: Workers, store: StateStore
) -> None:
    one, _ = workers
    await one.add(5)
    await until(lambda: one.count == 5)
    version, tag = one.room.replica.version, one.room.replica.tag
    await store.delete(KEY)
    await until(lambda: one.count == 0)
    await one.room.catch_up(version, tag)
    back = Screen()
    one.room.join(back, back.writer, tag)
    assert back.state["count"] == 0


async def test_a_room_stays_open_while_a_client_waits_to_be_shown_the_newest(
    store: StateStore, pubsub: PubSub
) -> None:
    worker = Worker(store, pubsub)
    await worker.room.open()
    worker.store.open.clear()
    waiting = asyncio.create_task(worker.room.catch_up(1, None))
    await until(lambda: worker.store.questions == 1)
    unused = [worker.room.unused]  # if so, the hub closes it, and the client joins a dead room
    worker.store.open.set()
    await waiting
    unused.append(worker.room.unused)
    assert unused == [False, True]
    await worker.close()


async def test_a_question_asked_before_a_commit_does_not_answer_for_it(
    workers: Workers, store: StateStore
) -> None:
    one, behind = workers
    behind.bus.arrive = lose
    await one.add(1)
    await until(lambda: one.count == 1)
    first = one.room.replica.version
    behind.store.open.clear()  # the store has said that it is at the first commit
    early = asyncio.create_task(behind.room.catch_up(first, one.room.replica.tag))
    await until(lambda: behind.store.questions == 1)
    loaded = await store.load(KEY)
    assert loaded
    behind.room.replica = Replica(loaded)  # as if the commit had only been late
    await one.add(1)
    await until(lambda: one.count == 2)
    late = asyncio.create_task(behind.room.catch_up(one.room.replica.version, one.room.replica.tag))
    await asyncio.sleep(0.01)
    behind.store.open.set()
    await asyncio.gather(early, late)
    assert behind.room.replica.version == one.room.replica.version


async def test_who_joins_is_told_if_the_newest_cannot_be_loaded(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_room, "CATCH_UP", 0.05)
    one, behind = workers
    behind.bus.arrive = lose
    await one.add(1)
    behind.store.away = True
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(2):
            await behind.room.catch_up(one.answers[-1].version, None)
    behind.store.away = False
    await behind.room.catch_up(one.answers[-1].version, None)
    assert behind.room.replica.version == one.answers[-1].version
