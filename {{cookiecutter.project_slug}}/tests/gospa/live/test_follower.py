"""A room's copy in a worker stays true, whatever becomes of the messages that feed it."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from gospa.errors import SchemaMismatch, StoreUnavailable
from gospa.live import follower, wire
from gospa.live.replica import Replica
from gospa.pubsub import OnMessage, PubSub
from gospa.stats import Stats
from gospa.store.codec import pack_fields
from gospa.store.contract import Change, StateStore, splice
from gospa.testing import until
from tests.gospa.live.worker import KEY, Seat, Worker, deliver, lose, opened
from tests.gospa.rooms import Sheet

Workers = tuple[Worker, Worker]


@pytest.fixture
async def workers(store: StateStore, pubsub: PubSub) -> AsyncIterator[Workers]:
    one, other = Worker(store, pubsub), Worker(store, pubsub)
    async with opened(one, other):
        yield one, other


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
    other.bus.arrive = deliver
    await one.add(2)
    await until(lambda: one.count == other.count == 3)
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
    assert (await one.add(0)).result == 0


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
    other.bus.arrive = deliver
    await one.add(1)
    await until(lambda: other.store.loads >= 3)
    late = Seat()
    other.join(late)
    assert late.state["count"] == 0  # an old state, and a true one
    other.store.away = False
    await until(lambda: one.count == other.count == 2)
    assert late.state == other.screen.state == one.screen.state


async def test_a_commit_made_here_is_shown_before_it_is_delivered(workers: Workers) -> None:
    one, _ = workers
    one.bus.arrive = lose
    await one.add(1)
    await one.add(1)
    await until(lambda: one.count == 2)
    assert one.store.loads == 1


async def test_a_commit_made_here_is_shown_once_though_it_is_delivered_too(
    workers: Workers, stats: Stats
) -> None:
    one, other = workers
    late: list[bytes] = []
    one.bus.arrive = lambda message, to: late.append(message)
    for _ in range(3):
        await one.add(1)
    await until(lambda: len(late) == 3)
    for message in late:
        one.bus.deliver(message)
    await until(lambda: one.count == other.count == 3)
    assert one.screen.kinds() == other.screen.kinds() == [0, 8, 1, 1, 1]
    assert (stats.loads_missed, stats.loads_other) == (0, 0)


async def test_epochs_of_all_replicas_are_those_of_the_store(
    workers: Workers, store: StateStore
) -> None:
    """Also of one that missed commits, and was loaded again."""
    one, other = workers
    id = (await one.call("add_note", text="first")).result
    other.bus.arrive = lose
    await one.call("add_note", text="second")
    await one.call("remove_note", id=id)
    other.bus.arrive = deliver
    await one.call("add_note", text="third")
    await until(lambda: other.replica.tag == one.replica.tag)
    stored = await store.load(KEY)
    assert stored is not None
    assert stored.epochs
    for worker in workers:
        assert worker.replica.content.copied() == (stored.fields, stored.epochs)


async def test_keys_that_only_the_store_has_are_in_no_replica(
    workers: Workers, store: StateStore
) -> None:
    one, other = workers
    fields, tag = pack_fields({"count": 2, "%secret": 1}), b"tag-0001"
    change = Change(tag, exists=False, message=wire.patch_parts(KEY, tag, fields, ()), set=fields)
    await store.commit(KEY, change)
    await until(lambda: one.count == other.count == 2)
    late = Worker(store, one.bus)
    async with opened(late):
        for worker in (one, other, late):
            assert worker.replica.content.fields == pack_fields({"count": 2})
            assert "%secret" not in worker.screen.state


# A release that is older than the room


class Newer(Sheet):
    pattern = "sheet/<name>"
    version = 2


async def test_members_of_an_older_release_are_sent_elsewhere_when_the_room_is_migrated(
    workers: Workers, store: StateStore, pubsub: PubSub
) -> None:
    one, other = workers
    await one.add(1)
    await until(lambda: other.count == 1)
    async with opened(Worker(store, pubsub, Newer)):
        await until(lambda: one.screen.restarts == other.screen.restarts == 1)
    outcome = await one.add(1)
    assert isinstance(outcome, SchemaMismatch)
    stored = await store.load(KEY)
    assert stored
    assert stored.fields == pack_fields({"count": 1, "$schema": 2})


async def test_a_migration_that_was_missed_is_noticed_when_the_room_is_loaded_again(
    workers: Workers, store: StateStore, pubsub: PubSub
) -> None:
    one, other = workers
    await one.add(1)
    await until(lambda: other.count == 1)
    other.bus.arrive = lose
    async with opened(Worker(store, pubsub, Newer)):
        await until(lambda: one.screen.restarts == 1)
    assert other.screen.restarts == 0
    await other.compare()
    await until(lambda: other.screen.restarts == 1)
    with pytest.raises(SchemaMismatch):  # nobody is shown what was before it
        await other.room.catch_up(0, None)


# A client that reconnects to a worker whose replica is behind


async def test_a_client_is_shown_no_older_state_than_before(workers: Workers) -> None:
    one, behind = workers
    behind.bus.arrive = lose
    await one.add(1)
    await until(lambda: one.count == 1)
    back = Seat()
    back.resume(one.screen)
    await behind.room.catch_up(one.replica.version, back.tag)
    behind.join(back, back.tag)
    assert back.state["count"] == 1
    assert all(state["count"] == 1 for state in back.shown)


async def test_a_client_is_shown_what_was_acknowledged_to_it(workers: Workers) -> None:
    """Its ACK came, and then the connection broke before the PATCH."""
    one, behind = workers
    behind.bus.arrive = lose
    shown = one.replica.tag
    await one.add(1)
    back = Seat()
    await behind.room.catch_up(one.answers[-1].version, shown)
    behind.join(back, shown)
    assert back.state["count"] == 1


async def test_joins_of_a_storm_share_one_question_to_the_store(workers: Workers) -> None:
    one, behind = workers
    behind.bus.arrive = lose
    await one.add(1)
    await until(lambda: one.count == 1)
    before = behind.store.loads
    version, tag = one.replica.version, one.replica.tag
    await asyncio.gather(*(behind.room.catch_up(version, tag) for _ in range(2000)))
    assert (behind.store.loads - before, behind.store.questions) == (1, 1)


async def test_joins_are_served_from_memory_where_the_replica_is_not_behind(
    workers: Workers,
) -> None:
    one, other = workers
    await one.add(1)
    await until(lambda: one.count == other.count == 1)
    before = other.store.loads
    await other.room.catch_up(one.replica.version, one.replica.tag)
    await other.room.catch_up(0, None)
    assert (other.store.loads, other.store.questions) == (before, 0)


async def test_a_client_of_a_chain_that_the_store_lost_follows_the_store(
    workers: Workers, store: StateStore
) -> None:
    one, _ = workers
    await one.add(5)
    await until(lambda: one.count == 5)
    version, tag = one.replica.version, one.replica.tag
    await store.delete(KEY)
    await until(lambda: one.count == 0)
    await one.room.catch_up(version, tag)
    back = Seat()
    one.join(back, tag)
    assert back.state["count"] == 0


async def test_a_question_asked_before_a_commit_does_not_answer_for_it(
    workers: Workers, store: StateStore
) -> None:
    one, behind = workers
    behind.bus.arrive = lose
    await one.add(1)
    await until(lambda: one.count == 1)
    first = one.replica.version
    behind.store.open.clear()  # the store has said that it is at the first commit
    early = asyncio.create_task(behind.room.catch_up(first, one.replica.tag))
    await until(lambda: behind.store.questions == 1)
    loaded = await store.load(KEY)
    assert loaded
    behind.room.follower.replica = Replica(loaded)  # as if the commit had only been late
    await one.add(1)
    await until(lambda: one.count == 2)
    late = asyncio.create_task(behind.room.catch_up(one.replica.version, one.replica.tag))
    await asyncio.sleep(0.01)
    behind.store.open.set()
    await asyncio.gather(early, late)
    assert behind.replica.version == one.replica.version


async def test_who_joins_is_told_if_the_newest_cannot_be_loaded(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "CATCH_UP", 0.05)
    one, behind = workers
    behind.bus.arrive = lose
    await one.add(1)
    behind.store.away = True
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(40):
            await behind.room.catch_up(one.answers[-1].version, None)
    behind.store.away = False
    monkeypatch.undo()
    await behind.room.catch_up(one.answers[-1].version, None)
    assert behind.replica.version == one.answers[-1].version
