"""Alarms: each runs once, whoever set it, whoever is there, and whatever dies meanwhile."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from gospa import (
    Access,
    Member,
    Room,
    Rooms,
    Session,
    State,
    action,
    alarm,
    rooms_of,
    tasks,
    trouble,
)
from gospa.errors import StoreUnavailable
from gospa.live import alarms
from gospa.live.alarms import Waker
from gospa.live.hub import Hub
from gospa.live.router import Router
from gospa.member import SERVER
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.stats import Stats
from gospa.store.alarms import GRAIN, Entry
from gospa.store.content import Content
from gospa.store.contract import Change, StateStore
from gospa.store.draft import Draft
from gospa.testing import OpenApp, Site, until

KEY = "timer/a"
HOUR = 3600.0


class TimerState(State):
    rings: int = 0
    left: int = 0


class Timer(Room[TimerState]):
    pattern = "timer/<name>"
    broken = False

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def start(self, state: TimerState, after: float | None = 0, again: int = 0) -> None:
        state.left = again
        state.wake(after=after)

    @alarm
    def ring(self, state: TimerState) -> None:
        state.rings += 1
        if state.left:
            state.left -= 1
            state.wake(after=0)
        if self.broken:
            raise ZeroDivisionError


class Loaded(Timer):
    """A room that begins with an alarm."""

    pattern = "loaded"

    async def load(self) -> TimerState:
        state = TimerState(rings=10)
        state.wake(after=0)
        return state


class Visited(Timer):
    """A room that has an alarm once somebody has come."""

    pattern = "visited"

    def joined(self, state: TimerState, member: Member) -> None:
        state.wake(after=0)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "POLL": 0.05,
        "RETRY": 200,
        "SOON": 50,
        "GRACE": 300,
        "FOREIGN": 50,
    }.items():
        monkeypatch.setattr(alarms, name, value)


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([Timer, Loaded, Visited]) as site:
        yield site


@pytest.fixture
def rooms(site: Site) -> Rooms:
    return rooms_of(site.app)


async def rings(rooms: Rooms, count: int, key: str = KEY) -> None:
    """Wait until it rang so often, and until no entry is left that could have it ring again."""

    async def done() -> bool:
        state = await rooms.read(Timer, key)
        assert state.rings <= count
        return state.rings == count and state.left == 0

    await until(done)


async def no_entry(index: Any) -> None:
    """Wait until nothing is left of what was due."""

    async def is_so() -> bool:
        return not (await index.due(10)).entries

    await until(is_so)


async def test_it_runs_once_in_a_room_that_nobody_is_in(rooms: Rooms, stats: Stats) -> None:
    await rooms.call(Timer.start, KEY)
    await rings(rooms, 1)
    await rooms.call(Timer.start, "timer/b", after=HOUR)
    await rings(rooms, 1)
    assert (await rooms.read(Timer, "timer/b")).rings == 0
    assert stats.alarms == 1


@pytest.mark.slow
async def test_one_that_sets_the_next_goes_on(rooms: Rooms) -> None:
    await rooms.call(Timer.start, KEY, again=2)
    await rings(rooms, 3)


@pytest.mark.slow
async def test_a_room_has_one_time_that_can_be_changed_and_taken_back(rooms: Rooms) -> None:
    await rooms.call(Timer.start, KEY, after=HOUR)
    await rooms.call(Timer.start, KEY, after=0)
    await rings(rooms, 1)
    await rooms.call(Timer.start, KEY, after=0.5)
    await rooms.call(Timer.start, KEY, after=None)
    await rooms.call(Timer.start, "timer/b", after=1)  # which is due after the one taken back
    await rings(rooms, 1, "timer/b")
    await rings(rooms, 1)


async def test_members_see_what_it_changes(site: Site) -> None:
    async with site.connect() as member:
        timer = await member.join(KEY)
        await timer.call("start")
        await until(lambda: timer.state["rings"] == 1)


@pytest.mark.parametrize("hook", ["load", "joined"])
async def test_hooks_may_set_it(site: Site, rooms: Rooms, hook: str) -> None:
    async with site.connect() as member:
        if hook == "load":
            await member.join("loaded")
            await rings(rooms, 11, "loaded")
        else:
            await member.join("visited")
            await rings(rooms, 1, "visited")


async def test_one_that_fails_changes_nothing_and_is_run_again(
    rooms: Rooms,
    stats: Stats,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Timer, "broken", True)
    await rooms.call(Timer.start, KEY)
    await until(lambda: stats.alarms_failed >= 2)
    assert (await rooms.read(Timer, KEY)).rings == 0
    assert "the alarm of room timer/a failed: it is run again" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.setattr(Timer, "broken", False)
    await rings(rooms, 1)


async def test_alarms_that_fail_in_many_rooms_are_not_logged_one_by_one(
    rooms: Rooms, stats: Stats, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trouble.forget()
    monkeypatch.setattr(Timer, "broken", True)
    for number in range(5):
        await rooms.call(Timer.start, f"timer/{number}")
    await until(lambda: stats.alarms_failed >= 5)
    assert caplog.text.count("Traceback") == 1


async def test_a_worker_that_may_not_have_seen_all_that_is_due_looks_again_soon(
    site: Site, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    waker = Waker(site.app.ctx.hub, site.app.ctx.hub.store.alarms)
    monkeypatch.setattr(alarms, "MOST", 1)
    for number in range(40):  # over all parts of the index
        await rooms.call(Timer.start, f"timer/{number}", after=0)
    await waker.poll()
    assert waker.pause == alarms.AGAIN
    await until(lambda: _nothing_is_due(site))
    await waker.poll()
    assert waker.pause == alarms.POLL


async def _nothing_is_due(site: Site) -> bool:
    return not (await site.app.ctx.hub.store.alarms.due(1)).entries


# Several workers, and deaths


Open = Callable[..., Awaitable["Worker"]]


class Worker:
    """A hub, and what wakes its rooms until it is killed."""

    def __init__(self, hub: Hub, *, wakes: bool) -> None:
        self.hub = hub
        waking = [Waker(hub, hub.store.alarms).run()] if wakes else []
        self._tasks = [tasks.start(each, "alarms") for each in waking]

    async def start(self, after: float = 0) -> None:
        room = Timer(KEY, {})
        run = Timer.start.bind(room, SERVER, {"after": after})
        await self.hub.submit(KEY, room, run, name="start")

    async def kill(self) -> None:
        await tasks.stop(*self._tasks)
        await self.hub.close()


@pytest.fixture
async def open_worker(store: StateStore, pubsub: PubSub, settings: Settings) -> AsyncIterator[Open]:
    workers: list[Worker] = []

    async def start(
        kinds: tuple[type[Room[Any]], ...] = (Timer,), *, over: Any = None, wakes: bool = True
    ) -> Worker:
        hub = Hub(over or store, pubsub, Router(kinds), settings)
        workers.append(Worker(hub, wakes=wakes))
        return workers[-1]

    yield start
    for worker in workers:
        await worker.kill()


class Dying:
    """A store that a worker dies at: before its commit with an alarm is applied, or after it."""

    def __init__(self, store: StateStore, when: str) -> None:
        self._store, self._when = store, when
        self.alarms = store.alarms

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, room: str, change: Change) -> Any:
        if change.set and self._when == "before":
            raise StoreUnavailable("it died")
        outcome = await self._store.commit(room, change)
        if change.set and self._when == "after":
            raise StoreUnavailable("it died")
        return outcome


async def count(store: StateStore) -> int:
    stored = await store.load(KEY)
    return TimerState.of(Draft(Content(stored.fields if stored else {}, {})), frozen=True).rings


async def rang(store: StateStore) -> None:
    """Wait until it has rung, and until no entry is left that could have it ring again."""

    async def once() -> bool:
        assert await count(store) <= 1
        return await count(store) == 1

    await until(once)
    await no_entry(store.alarms)
    assert await count(store) == 1


async def test_of_several_workers_one_runs_it(open_worker: Open, store: StateStore) -> None:
    workers = [await open_worker() for _ in range(4)]
    await workers[0].start()
    await rang(store)


@pytest.mark.parametrize(("when", "times"), [("before", 0), ("after", 1)])
async def test_whoever_sets_it_may_die_in_the_middle(
    open_worker: Open, store: StateStore, when: str, times: int
) -> None:
    dying = await open_worker(over=Dying(store, when), wakes=False)
    with suppress(StoreUnavailable):  # after it was applied, it may be acknowledged all the same
        await dying.start()
    await dying.kill()
    await open_worker()
    if times:
        await rang(store)
    await no_entry(store.alarms)
    assert await count(store) == times


@pytest.mark.parametrize("when", ["before", "after"])
async def test_whoever_runs_it_may_die_in_the_middle(
    open_worker: Open, store: StateStore, stats: Stats, when: str
) -> None:
    setting = await open_worker(wakes=False)
    dying = await open_worker(over=Dying(store, when))
    await setting.start()

    async def died() -> bool:
        return bool(await count(store) if when == "after" else stats.alarms_failed)

    await until(died)
    await dying.kill()
    await open_worker()
    await rang(store)


async def test_one_whose_entry_was_lost_is_found_when_the_room_is_opened(
    open_worker: Open, store: StateStore
) -> None:
    worker = await open_worker(wakes=False)
    await worker.start()
    now = (await store.alarms.due(10)).now
    await store.alarms.remove(
        [Entry(KEY, now + step - now % GRAIN) for step in range(-GRAIN, 3 * GRAIN, GRAIN)]
    )
    await worker.kill()
    other = await open_worker()
    async with other.hub.hold(KEY, Timer(KEY, {})):
        pass
    await rang(store)


async def test_a_host_without_the_class_leaves_it_to_others(
    open_worker: Open, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = await open_worker(wakes=False)
    await open_worker((Loaded,))
    looks, due = list[int](), store.alarms.due

    async def counted(most: int) -> Any:
        found = await due(most)
        looks.append(len(found.entries))
        return found

    monkeypatch.setattr(store.alarms, "due", counted)
    await setting.start()
    await until(lambda: looks.count(1) > 3)
    assert await count(store) == 0
    await open_worker()
    await rang(store)


async def test_many_of_a_class_that_is_gone_do_not_hold_up_others(
    open_worker: Open, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarms, "MOST", 2)
    monkeypatch.setattr(alarms, "FOREIGN", 60_000)
    setting = await open_worker(wakes=False)
    now, _ = await store.alarms.due(1)
    for number in range(50):
        await store.alarms.note(f"gone/{number}", now - number)
    await setting.start()
    await open_worker()

    async def once() -> bool:
        return await count(store) == 1

    await until(once)


async def test_an_outage_of_the_store_delays_it(
    open_worker: Open, store: StateStore, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    caplog.set_level(logging.WARNING)
    setting = await open_worker(wakes=False)
    await setting.start()
    working = store.alarms.due

    async def away(_: int) -> Any:
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(store.alarms, "due", away)
    await open_worker()
    await until(lambda: "due alarms cannot be read: it is away" in caplog.text)
    monkeypatch.setattr(store.alarms, "due", working)
    await rang(store)


@pytest.mark.slow
async def test_one_outlasts_a_failure_of_its_rooms_server_alone(
    open_worker: Open, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = await open_worker(wakes=False)
    await setting.start()
    began, working, later = (await store.alarms.due(10)).now, store.alarms.stored, 0

    async def none_answers(_: Any) -> dict[str, int | None]:
        nonlocal later
        now, _ = await store.alarms.due(10)
        later += now > began + 1000  # when its entry is old enough to be removed
        return {}

    monkeypatch.setattr(store.alarms, "stored", none_answers)
    await open_worker()
    await until(lambda: later > 1)
    monkeypatch.setattr(store.alarms, "stored", working)
    await rang(store)
