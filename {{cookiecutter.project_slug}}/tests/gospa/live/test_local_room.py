"""What the members of a room in a worker are sent, and how long the room stays open."""

import asyncio
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gospa import Access, Member
from gospa.live import fanout, wire
from gospa.pubsub import PubSub
from gospa.store.contract import StateStore, channel
from gospa.testing import until
from tests.gospa.live.worker import KEY, Seat, Worker, opened

Workers = tuple[Worker, Worker]


@pytest.fixture
async def workers(store: StateStore, pubsub: PubSub) -> AsyncIterator[Workers]:
    one, other = Worker(store, pubsub), Worker(store, pubsub)
    async with opened(one, other):
        yield one, other


async def test_who_joins_is_shown_the_state_with_what_it_lacks(workers: Workers) -> None:
    """Defaults and the names of collections are no part of the chain: releases differ in them."""
    one, _ = workers
    await one.call("add_note", text="a")
    late = Seat()
    late.access = Access.READ
    one.join(late)
    snapshot, joined = late.messages
    assert [*snapshot[4]] == [*one.replica.content.fields]
    at = [KEY, one.replica.version, one.replica.tag]
    assert joined == [wire.JOINED, *at, {"count": 0}, ["notes"], "read"]
    assert late.state["count"] == 0


async def test_who_comes_back_gets_what_was_missed_and_the_defaults_of_this_release(
    workers: Workers,
) -> None:
    one, _ = workers
    await one.add(1)
    await until(lambda: one.screen.tag == one.replica.tag)
    back = Seat()
    back.resume(one.screen)
    one.join(back, back.tag)
    at = [KEY, 1, one.replica.tag]
    assert back.messages == [[wire.JOINED, *at, {"count": 0}, ["notes"], "full"]]


async def test_who_comes_back_gets_what_was_missed_and_nothing_else(workers: Workers) -> None:
    one, _ = workers
    await one.add(1)
    await until(lambda: one.count == 1)
    back = Seat()
    back.resume(one.screen)
    await one.add(1)
    await until(lambda: one.count == 2)
    one.join(back, back.tag)
    assert back.kinds() == [1, 8]
    assert back.state == one.screen.state


async def test_who_was_behind_gets_no_commit_twice(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "WRITE", 0.2)  # so that some commits still wait to be sent
    monkeypatch.setattr(fanout, "WINDOW", 0.2)
    one, _ = workers
    one.screen.writer.pause(0)
    for _ in range(3):
        await one.add(1)
    one.screen.writer.resume()
    await one.add(1)
    await until(lambda: one.count == 4)
    assert one.screen.kinds() == [0, 8, 0, 1]


async def test_a_member_is_told_what_it_may_do_by_now(workers: Workers) -> None:
    one, _ = workers
    one.room.tell_access(one.screen.writer, Access.READ)
    assert one.screen.kinds() == [wire.SNAPSHOT, wire.JOINED, wire.JOINED]
    assert one.screen.messages[-1][-1] == "read"


async def test_who_has_left_is_sent_nothing_more(workers: Workers) -> None:
    one, other = workers
    one.room.leave(one.screen.writer)
    await one.add(1)
    await until(lambda: other.count == 1)
    assert one.screen.kinds() == [wire.SNAPSHOT, wire.JOINED]


async def test_an_event_reaches_all_members_and_is_not_kept(
    workers: Workers, pubsub: PubSub
) -> None:
    ann = Member("id", "ann", info={"name": "Ann"})
    await pubsub.publish(channel(KEY), wire.event(KEY, "wave", [1], ann))
    who = {"id": "id", "user": "ann", "info": {"name": "Ann"}}
    for worker in workers:
        await until(lambda worker=worker: worker.screen.messages[-1] == [2, KEY, "wave", [1], who])
        late = Seat()
        worker.join(late)
        assert late.kinds() == [wire.SNAPSHOT, wire.JOINED]


@pytest.mark.parametrize(
    ("whom", "found"),
    [((None, None), "ab"), (("ann", None), "a"), ((None, "b"), "b"), (("ann", "b"), "")],
)
@pytest.mark.parametrize("kind", [wire.KICK, wire.REAUTHORIZE])
async def test_a_notice_concerns_members_by_user_or_id(
    workers: Workers, pubsub: PubSub, kind: int, whom: tuple[str | None, str | None], found: str
) -> None:
    one, other = workers
    seats = {"a": one.screen, "b": other.screen}
    seats["a"].member, seats["b"].member = Member("a", "ann"), Member("b", "bob")
    await pubsub.publish(channel(KEY), wire.notice(kind, *whom))
    await until(lambda: one.room.notices == other.room.notices == 1)
    kicked = "".join(name for name, seat in seats.items() if seat.kicks)
    reauthorized = "".join(name for name, seat in seats.items() if seat.reauthorized)
    assert (kicked, reauthorized) == ((found, "") if kind == wire.KICK else ("", found))


async def test_listeners_are_told_of_each_change_and_of_the_end(
    store: StateStore, pubsub: PubSub
) -> None:
    worker, told = Worker(store, pubsub), list[int]()
    async with opened(worker):
        worker.room.listeners.add(lambda: told.append(worker.replica.version))
        await worker.add(1)
        await worker.add(1)
        assert told == [1, 2]
        await store.delete(KEY)
        await until(lambda: told == [1, 2, 0])
    assert worker.room.closed
    assert told == [1, 2, 0, 0]


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


@pytest.mark.slow
async def test_a_large_state_is_encoded_again_only_after_much_has_changed(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever version the clients that join say they know."""
    one, _ = workers
    for _ in range(40):
        await one.call("add_note", text="x" * 400)
    encoded, encode = 0, wire.snapshot

    def count(*args: Any) -> bytes:
        nonlocal encoded
        encoded += 1
        return encode(*args)

    monkeypatch.setattr(wire, "snapshot", count)
    for number in range(20):
        await one.add()
        seat = Seat()
        one.room.join(seat, seat.writer, None, number % 2)
        assert seat.state["count"] == number + 1
    assert encoded <= 1
    seat = Seat()
    one.room.join(seat, seat.writer, b"unknown", 2**60)
    one.room.join(seat, seat.writer, b"unknown", 2**60)
    assert encoded <= 2
    assert [message[0] for message in seat.messages] == [0, 8, 0, 8]


async def test_who_asks_for_a_version_gets_no_older_state(workers: Workers) -> None:
    one, _ = workers
    for _ in range(40):
        await one.call("add_note", text="x" * 400)
    for _ in range(5):
        await one.add()
        seat = Seat()
        one.room.join(seat, seat.writer, None, one.replica.version)
        snapshot = seat.messages[0]
        assert (snapshot[0], snapshot[2]) == (0, one.replica.version)


async def test_a_closed_room_holds_no_state_and_loads_none(
    store: StateStore, pubsub: PubSub
) -> None:
    worker = Worker(store, pubsub)
    await worker.open()
    await worker.add(1)
    await until(lambda: worker.count == 1)
    state, since = weakref.ref(worker.replica.content), worker.replica.tag
    worker.room.leave(worker.screen.writer)
    await worker.close()
    assert state() is None
    loads = worker.store.loads
    await worker.room.follower.compare(b"another", since)
    await worker.close()
    assert worker.store.loads == loads
