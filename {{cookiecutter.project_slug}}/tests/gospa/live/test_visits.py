"""Visits: each of the hooks runs once, whatever becomes of connections and workers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gospa.live import hub, reviews, visits
from gospa.live.visit_records import VISITS
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store.codec import pack
from gospa.store.contract import NO_MESSAGE, Change, Commit, StateStore
from gospa.testing import until
from tests.gospa.live.visited import NAME, Faulty, Worker, seat

LEASE = 1.0  # of a client that is away, and of a worker where it is to expire
REVIEW = 0.05

Open = Callable[[], Awaitable[Worker]]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in (
        (visits, "LEASE", LEASE),
        (reviews, "REVIEW", REVIEW),
        (hub, "TICK", 0.05),
    ):
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture
def _short_lease(_hurry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where it has to expire: a busy machine might let it expire elsewhere, too."""
    monkeypatch.setattr(reviews, "LEASE", LEASE)


@pytest.fixture
def faulty(store: StateStore) -> Faulty:
    return Faulty(store)


@pytest.fixture
async def open_worker(faulty: Any, pubsub: PubSub, settings: Settings) -> AsyncIterator[Open]:
    workers: list[Worker] = []

    async def start() -> Worker:
        workers.append(Worker(faulty, pubsub, settings))
        return await workers[-1].open()

    yield start
    for worker in workers:
        await worker.kill()
        await worker.hub.close()


@pytest.fixture
async def one(open_worker: Open) -> Worker:
    return await open_worker()


@pytest.fixture
async def other(open_worker: Open) -> Worker:
    return await open_worker()


async def logs(worker: Worker, *expected: str) -> None:
    """Wait until these are what the hooks noted."""

    async def same() -> bool:
        return await worker.log() == list(expected)

    await until(same)


async def settled(worker: Worker) -> None:
    await until(lambda: bool(worker.local.visits and worker.local.visits.settled))


async def test_a_visit_begins_with_the_first_connection_of_a_client_and_ends_with_its_last(
    one: Worker,
) -> None:
    first, second = seat("1", user="ann"), seat("1", user="ann")
    await one.enter(first)
    await one.enter(second)
    one.leave(first, orderly=True)
    await logs(one, "joined ann")
    one.leave(second, orderly=True)
    await logs(one, "joined ann", "left ann")


async def test_who_leaves_in_order_has_left_at_once(
    one: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "LEASE", 3600.0)
    ann = seat("1", user="ann")
    await one.enter(ann)
    await logs(one, "joined ann")
    one.leave(ann, orderly=True)
    await logs(one, "joined ann", "left ann")


@pytest.mark.slow
async def test_who_lost_the_connection_has_left_after_the_lease(one: Worker) -> None:
    ann = seat("1", user="ann")
    await one.enter(ann)
    await logs(one, "joined ann")
    one.leave(ann, orderly=False)
    assert not one.local.unused, "somebody has to end the visit"
    await logs(one, "joined ann", "left ann")
    await until(lambda: one.local.unused)


async def test_who_is_back_within_the_lease_is_on_the_same_visit(
    one: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "LEASE", 3600.0)
    ann, bob = seat("1", user="ann"), seat("2", user="bob")
    await one.enter(ann)
    one.leave(ann, orderly=False)
    await one.enter(seat("1", user="ann"))
    await one.enter(bob)
    await logs(one, "joined ann", "joined bob")


@pytest.mark.slow
async def test_who_is_back_on_another_worker_is_on_the_same_visit(
    one: Worker, other: Worker
) -> None:
    ann, again = seat("1", user="ann"), seat("1", user="ann")
    await one.enter(ann)
    await logs(one, "joined ann")
    one.leave(ann, orderly=False)
    await other.enter(again)
    await settled(one)  # its lease for her has ended
    await logs(other, "joined ann")
    other.leave(again, orderly=True)
    await logs(other, "joined ann", "left ann")


@pytest.mark.slow
async def test_a_connection_that_ends_late_ends_no_visit_on_another_worker(
    one: Worker, other: Worker
) -> None:
    ann = seat("1", user="ann")
    await one.enter(ann)
    await logs(one, "joined ann")
    await other.enter(seat("1", user="ann"))
    await other.local.mutations.idle.wait()
    one.leave(ann, orderly=True)
    await settled(one)
    await logs(one, "joined ann")


async def test_what_changes_of_a_member_is_an_update(one: Worker, other: Worker) -> None:
    await one.enter(seat("1", user="ann", name="Ann"))
    await logs(one, "joined ann Ann")
    await one.enter(seat("1", user="ann", name="Ann"))
    await other.enter(seat("1", user="ann", name="Ann"))
    await other.local.mutations.idle.wait()
    await other.enter(seat("1", user="ann", name="Anna"))
    await logs(one, "joined ann Ann", "updated ann Anna")


async def test_another_user_of_the_same_client_is_on_another_visit(
    one: Worker, other: Worker
) -> None:
    await one.enter(seat("1", name="somebody"))
    await logs(one, "joined 1 somebody")
    await other.enter(seat("1", user="ann", name="Ann"))
    await logs(one, "joined 1 somebody", "left 1 somebody", "joined ann Ann")


@pytest.mark.usefixtures("_short_lease")
@pytest.mark.slow
async def test_visits_to_a_worker_that_died_are_ended_by_another_once_its_lease_is_over(
    one: Worker, other: Worker, open_worker: Open
) -> None:
    third = await open_worker()
    await one.enter(seat("1", user="ann", name="Ann"))
    await other.enter(seat("2", user="bob"))
    await third.enter(seat("3", user="eve"))
    await until(lambda: others_see(other, 3))
    await one.kill()
    await until(lambda: others_see(other, 2))
    assert (await other.log()).count("left ann Ann") == 1
    await other.local.mutations.idle.wait()
    await third.local.mutations.idle.wait()
    assert (await other.log()).count("left ann Ann") == 1
    assert not [line for line in await other.log() if line in {"left bob", "left eve"}]


async def others_see(worker: Worker, count: int) -> bool:
    stored = await worker.hub.store.load(NAME)
    fields = stored.fields if stored else {}
    return sum(key.startswith(VISITS) for key in fields) == count


@pytest.mark.usefixtures("_short_lease")
@pytest.mark.slow
async def test_if_all_workers_died_visits_end_when_the_room_is_next_opened(
    one: Worker, open_worker: Open
) -> None:
    await one.enter(seat("1", user="ann", name="Ann"))
    await logs(one, "joined ann Ann")
    await one.kill()
    later = await open_worker()

    async def ended() -> bool:  # as soon as it is opened after the lease has expired
        await later.open()
        return await later.log() == ["joined ann Ann", "left ann Ann"]

    await until(ended)


@pytest.mark.usefixtures("_short_lease")
@pytest.mark.slow
async def test_who_comes_back_to_a_new_worker_is_on_the_same_visit(
    one: Worker, open_worker: Open
) -> None:
    await one.enter(seat("1", user="ann"))
    await logs(one, "joined ann")
    await one.kill()
    later = await open_worker()
    await later.enter(seat("1", user="ann"))
    await passed(1.5 * LEASE)
    assert await later.log() == ["joined ann"]


async def test_a_visit_ends_that_went_on_at_a_worker_that_died(
    one: Worker, open_worker: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "LEASE", 3600.0)  # `one` still waits for the client by then
    dying = await open_worker()
    first, second = seat("1", user="ann"), seat("1", user="ann")
    await one.enter(first)
    await logs(one, "joined ann")
    await dying.enter(second)
    one.leave(first, orderly=False)
    await until(lambda: dying.hub.worker in one.local.visited_by())
    await dying.kill()
    await one.local.review_visits({dying.hub.worker})
    await logs(one, "joined ann", "left ann")


async def test_a_room_that_is_deleted_while_visits_are_ended_can_be_closed(
    open_worker: Open, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "REVIEW", 3600.0)
    one, dying = await open_worker(), await open_worker()
    await dying.enter(seat("1", user="ann"))
    await until(lambda: dying.hub.worker in one.local.visited_by())
    await dying.kill()
    await one.local.review_visits({dying.hub.worker})
    await logs(one, "joined ann", "left ann")
    await faulty.delete(NAME)
    await until(lambda: one.local.follower.replica.version == 0)
    await one.local.review_visits(())
    assert one.local.unused


@pytest.mark.usefixtures("_short_lease")
async def test_a_worker_that_dies_before_its_next_review_has_its_lease_from_then_on(
    one: Worker, faulty: Faulty
) -> None:
    await until(lambda: len(faulty.held) >= 2)
    assert set(faulty.held) == {(one.hub.worker, LEASE + REVIEW)}


async def test_visits_to_a_worker_that_only_slept_begin_again(one: Worker, other: Worker) -> None:
    await one.enter(seat("1", user="ann"))
    await logs(one, "joined ann")
    await until(lambda: others_see(other, 1))
    await other.local.review_visits({one.hub.worker})
    await logs(one, "joined ann", "left ann", "joined ann")


async def test_who_comes_to_a_worker_that_slept_hides_no_visit_that_was_ended(
    open_worker: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "REVIEW", 3600.0)
    one, other = await open_worker(), await open_worker()
    await one.enter(seat("1", user="ann"))
    await logs(one, "joined ann")
    await until(lambda: one.hub.worker in other.local.visited_by())
    await other.local.review_visits({one.hub.worker})
    await until(lambda: one.hub.worker not in one.local.visited_by())
    await one.enter(seat("2", user="bob"))
    await until(lambda: one.hub.worker in one.local.visited_by())
    await one.local.review_visits(())
    await logs(one, "joined ann", "left ann", "joined bob", "joined ann")


async def test_visits_that_the_store_lost_begin_again(
    one: Worker, other: Worker, faulty: Faulty
) -> None:
    await one.enter(seat("1", user="ann"))
    await other.enter(seat("2", user="bob"))
    await until(lambda: others_see(one, 2))
    await faulty.delete(NAME)

    async def begun() -> bool:
        joined = sorted(await one.log()) == ["joined ann", "joined bob"]
        return joined and await others_see(one, 2)

    await until(begun)


async def test_who_left_while_the_store_was_away_has_left_when_it_is_back(
    one: Worker, faulty: Faulty
) -> None:
    ann = seat("1", user="ann")
    await one.enter(ann)
    await logs(one, "joined ann")
    faulty.away = True
    one.leave(ann, orderly=True)
    await one.local.mutations.idle.wait()
    assert not one.local.unused, "it would forget that she left"
    faulty.away = False
    await logs(one, "joined ann", "left ann")
    await until(lambda: one.local.unused)


async def test_who_came_and_went_while_the_store_was_away_was_not_there(
    one: Worker, faulty: Faulty
) -> None:
    faulty.away = True
    ann = seat("1", user="ann")
    await one.enter(ann)
    await one.local.mutations.idle.wait()
    one.leave(ann, orderly=True)
    faulty.away = False
    await one.enter(seat("2", user="bob"))
    await logs(one, "joined bob")


async def test_visits_leave_no_numbers_of_mutations_in_the_store(
    one: Worker, faulty: Faulty
) -> None:
    ann = seat("1", user="ann")
    await one.enter(ann)
    one.leave(ann, orderly=True)
    await settled(one)
    assert faulty.changes
    assert not any(change.mutations for change in faulty.changes)


async def test_those_who_come_together_share_a_commit(one: Worker, faulty: Faulty) -> None:
    for number in range(100):
        await one.enter(seat(f"{number}"))
    await until(lambda: others_see(one, 100))
    assert len(faulty.changes) <= 3


@pytest.mark.usefixtures("_short_lease")
@pytest.mark.slow
async def test_nobody_has_left_because_the_store_was_away_for_longer_than_a_lease(
    one: Worker, other: Worker, faulty: Faulty
) -> None:
    await one.enter(seat("1", user="ann"))
    await other.enter(seat("2", user="bob"))
    await until(lambda: others_see(one, 2))
    faulty.unheard |= {one.hub.worker, other.hub.worker}
    await passed(1.5 * LEASE)
    faulty.unheard.remove(one.hub.worker)  # which hears the store first
    await reviewed(one, faulty)
    faulty.unheard.remove(other.hub.worker)
    await passed(2 * LEASE)
    assert sorted(await one.log()) == ["joined ann", "joined bob"]


@pytest.mark.slow
@pytest.mark.usefixtures("_short_lease")
async def test_nobody_has_left_because_the_host_of_all_workers_slept(
    one: Worker, other: Worker, faulty: Faulty
) -> None:
    await one.enter(seat("1", user="ann"))
    await other.enter(seat("2", user="bob"))
    await until(lambda: others_see(one, 2))
    await passed(1.5 * LEASE)  # from now on they would judge each other
    faulty.sleep(one.hub.worker, other.hub.worker)
    await passed(1.5 * LEASE)
    faulty.asleep[one.hub.worker].set()  # which awakes first
    await reviewed(one, faulty)
    faulty.asleep[other.hub.worker].set()
    await passed(2 * LEASE)
    assert sorted(await one.log()) == ["joined ann", "joined bob"]


async def reviewed(worker: Worker, faulty: Faulty) -> None:
    """Wait until this worker has held its lease and reviewed the visits of others."""
    before = len(faulty.held)
    held = (worker.hub.worker, LEASE + REVIEW)
    await until(lambda: faulty.held[before:].count(held) >= 2)


async def passed(seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    await until(lambda: asyncio.get_running_loop().time() > end)


@pytest.mark.slow
@pytest.mark.usefixtures("_short_lease")
@pytest.mark.parametrize("raw", [b"\xc1", pack([1]), pack({"a": 1}), pack(["w", 5, {}, None])])
async def test_a_visit_that_cannot_be_read_harms_itself_alone_and_is_logged(
    one: Worker, store: StateStore, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("ann", "bob"):
        await one.enter(seat(name))
    await logs(one, "joined ann", "joined bob")
    for name in ("ann", "left before"):
        change = Change(
            tag=b"spoiled!", exists=True, message=NO_MESSAGE, set={f"%visits/{name}": raw}
        )
        assert isinstance(await store.commit(NAME, change), Commit)
    await one.kill()
    other = Worker(store, one.hub.pubsub, one.hub.settings)
    try:
        await other.open()
        await other.enter(seat("cat"))
        await until(lambda: gone(other, "ann", "bob", "left before"))
    finally:
        await other.kill()
        await other.hub.close()
    assert "the visit of member ann cannot be read" in caplog.text


async def gone(worker: Worker, *names: str) -> bool:
    """Whether these, and nobody else, have left."""
    log = await worker.log()
    return sorted(each for each in log if each.startswith("left")) == [f"left {n}" for n in names]


async def test_who_leaves_whose_visit_cannot_be_read_has_left(
    one: Worker, store: StateStore
) -> None:
    ann = seat("ann")
    await one.enter(ann)
    await logs(one, "joined ann")
    change = Change(tag=b"spoiled!", exists=True, message=NO_MESSAGE, set={"%visits/ann": b"\xc1"})
    assert isinstance(await store.commit(NAME, change), Commit)
    one.leave(ann, orderly=True)
    await logs(one, "joined ann", "left ann")
