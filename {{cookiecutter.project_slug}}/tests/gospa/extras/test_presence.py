"""Lists of members, kept by two workers on one store of the chosen backend."""

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import app as chosen
from gospa import rooms_of, tasks
from gospa.app import create_app
from gospa.errors import StoreUnavailable
from gospa.extras import presence
from gospa.extras.presence import LocalMembers
from gospa.live.hub import Hub
from gospa.live.requests import member_id
from gospa.live.router import Router
from gospa.pubsub import PubSub
from gospa.sessions.session import new_session
from gospa.settings import Settings
from gospa.store.codec import unpack_fields
from gospa.store.contract import Change, Outcome, StateStore
from gospa.testing import Member, OpenApp, serve, until
from gospa.testing import Refused as Denied
from tests.gospa.rooms import ROOMS

LIST = "sheet/a#members"

Connect = Callable[..., Any]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "REVIEW", 0.05)
    monkeypatch.setattr(presence, "LEASE", 1.0)


class Worker:
    """A hub that reviews its rooms and lists until it is killed."""

    def __init__(self, store: StateStore, pubsub: PubSub, settings: Settings) -> None:
        router = Router(ROOMS)
        router.derive(presence.SUFFIX, presence.Members)
        self.hub = Hub(store, pubsub, router, settings)
        self.tasks = [
            tasks.start(self.hub.watch_tags(), "tags"),
            tasks.start(presence.watch(self.hub), "presence"),
        ]

    async def open(self) -> None:
        self.room = await self.hub.enter(LIST, new_session(0))

    @property
    def members(self) -> LocalMembers:
        assert isinstance(self.room.members, LocalMembers)
        return self.room.members

    def lists(self) -> dict[str, Any]:
        """The details of each member, as this worker knows them."""
        entries = unpack_fields(self.room.replica.snapshot.fields)
        return {member: entry["details"] for member, entry in entries.items()}

    async def kill(self) -> None:
        await tasks.stop(*self.tasks)


class Faulty:
    """A store that can be away for commits."""

    def __init__(self, store: StateStore) -> None:
        self.away = False
        self.changes: list[Change] = []
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, room: str, change: Change) -> Outcome:
        if self.away:
            raise StoreUnavailable("it is away")
        self.changes.append(change)
        return await self._store.commit(room, change)


@pytest.fixture
def faulty(store: StateStore) -> Faulty:
    return Faulty(store)


@pytest.fixture
async def workers(
    faulty: Any, pubsub: PubSub, settings: Settings
) -> AsyncIterator[tuple[Worker, Worker]]:
    one, other = Worker(faulty, pubsub, settings), Worker(faulty, pubsub, settings)
    for worker in (one, other):
        await worker.open()
    yield one, other
    for worker in (one, other):
        await worker.kill()
        await worker.room.mutations.idle.wait()
        await worker.room.close()


async def test_members_of_all_workers_are_listed_on_each(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.members.enter("ann", "connection 1", {"name": "Ann"})
    other.members.enter("bob", "connection 2", None)
    for worker in workers:
        await until(lambda worker=worker: worker.lists() == {"ann": {"name": "Ann"}, "bob": None})


async def test_lists_leave_no_numbers_of_mutations_in_the_store(
    workers: tuple[Worker, Worker], faulty: Faulty
) -> None:
    for worker in workers:
        worker.members.enter("ann", worker, 1)
    await until(lambda: all(worker.members.settled for worker in workers))
    assert not any(change.mutations for change in faulty.changes)


async def test_what_a_member_tells_later_replaces_what_it_told(
    workers: tuple[Worker, Worker],
) -> None:
    one, other = workers
    for name in ("Ann", "Anna", "Anne"):
        one.members.enter("ann", "connection 1", name)
    await until(lambda: other.lists() == {"ann": "Anne"})


async def test_a_member_is_listed_until_its_last_connection_here_leaves(
    workers: tuple[Worker, Worker],
) -> None:
    one, other = workers
    one.members.enter("ann", "old connection", "old")
    one.members.enter("ann", "new connection", "new")
    one.members.leave("ann", "old connection")
    await until(lambda: other.lists() == {"ann": "new"})
    one.members.leave("ann", "new connection")
    await until(lambda: other.lists() == {})


async def test_a_member_that_came_back_elsewhere_stays_when_its_old_connection_ends(
    workers: tuple[Worker, Worker],
) -> None:
    one, other = workers
    one.members.enter("ann", "old connection", "here")
    await until(lambda: other.lists() == {"ann": "here"})
    other.members.enter("ann", "new connection", "there")
    await until(lambda: one.lists() == {"ann": "there"})
    one.members.leave("ann", "old connection")
    await until(lambda: one.members.settled)
    assert one.lists() == other.lists() == {"ann": "there"}


async def test_members_of_a_worker_that_died_go_when_its_lease_has_ended(
    workers: tuple[Worker, Worker],
) -> None:
    one, other = workers
    one.members.enter("ann", "connection 1", "Ann")
    other.members.enter("bob", "connection 2", "Bob")
    await until(lambda: other.lists() == {"ann": "Ann", "bob": "Bob"})
    await one.kill()
    await until(lambda: other.lists() == {"bob": "Bob"})


async def test_members_of_a_worker_that_only_slept_come_back(
    workers: tuple[Worker, Worker],
) -> None:
    one, other = workers
    other.members.enter("ann", "connection 1", "Ann")
    await until(lambda: one.lists() == {"ann": "Ann"})
    one.members.review(set(one.members.workers().values()))
    await until(lambda: one.room.replica.version == 3)  # listed, removed, listed again
    await until(lambda: one.lists() == other.lists() == {"ann": "Ann"})


async def test_a_list_that_the_store_lost_is_made_again(
    workers: tuple[Worker, Worker], faulty: Faulty
) -> None:
    one, other = workers
    one.members.enter("ann", "connection 1", "Ann")
    other.members.enter("bob", "connection 2", "Bob")
    await until(lambda: one.lists() == other.lists() == {"ann": "Ann", "bob": "Bob"})
    await faulty.delete(LIST)

    async def made_again() -> bool:
        stored = await faulty.load(LIST)
        return stored is not None and set(stored.fields) == {"ann", "bob"}

    await until(made_again)
    await until(lambda: one.lists() == other.lists() == {"ann": "Ann", "bob": "Bob"})


async def test_who_left_while_the_store_was_away_goes_when_it_is_back(
    workers: tuple[Worker, Worker], faulty: Faulty
) -> None:
    one, other = workers
    one.members.enter("ann", "connection 1", "Ann")
    await until(lambda: other.lists() == {"ann": "Ann"})
    faulty.away = True
    one.members.leave("ann", "connection 1")
    await one.room.mutations.idle.wait()
    assert not one.room.unused, "it would forget that Ann left"
    faulty.away = False
    await until(lambda: one.lists() == other.lists() == {})
    await until(lambda: one.room.unused)


async def test_clients_of_a_worker_that_stops_stay_listed_as_they_will_be_back_elsewhere(
    settings: Settings,
) -> None:
    app = create_app("stopping", chosen.BACKENDS, ROOMS, settings, extras=[presence])
    async with serve(app) as address, Member.connect(address) as member:
        await member.join(LIST)
        await member.sees(LIST, lambda state: len(state) == 1)
        hub, local = app.ctx.hub, app.ctx.hub.rooms[LIST]
        await hub.drain()
        await app.ctx.connections.close()
        await local.mutations.idle.wait()
        stored = await hub.store.load(LIST)
        assert list(stored.fields) == [member.welcome[2]]


async def test_clients_see_who_is_in_a_room_while_they_are_connected(connect: Connect) -> None:
    async with connect() as one:
        async with connect() as two:
            await one.send(0, LIST, None, None, {"name": "Ann"})
            await two.send(0, LIST, None, None, {"name": "Bob"})
            seen = await one.sees(LIST, lambda state: len(state) == 2)
            assert seen == {
                member.welcome[2]: {
                    "pid": os.getpid(),
                    "worker": seen[member.welcome[2]]["worker"],
                    "details": {"name": name},
                }
                for member, name in ((one, "Ann"), (two, "Bob"))
            }
            await two.send(1, LIST)
            await one.sees(LIST, lambda state: len(state) == 1)
            await two.join(LIST)
            await one.sees(LIST, lambda state: len(state) == 2)
        await one.sees(LIST, lambda state: list(state) == [one.welcome[2]])


async def test_a_client_has_the_same_name_for_others_over_all_its_connections(
    connect: Connect,
) -> None:
    client = os.urandom(16)
    async with connect(client=client) as one:
        first = one.welcome[2]
    async with connect(client=client) as again:
        assert again.welcome[2] == first == member_id(client)
    assert client.hex() not in first


async def test_a_room_without_presence_does_not_tell_who_is_in_it(connect: Connect) -> None:
    async with connect() as member:
        for room in ("my#members", "sheet/a#others", "sheet/a#members#members", "#members"):
            with pytest.raises(Denied, match="unknown_room"):
                await member.join(room)


async def test_a_list_of_members_takes_neither_writes_nor_events(connect: Connect) -> None:
    async with connect() as member:
        await member.join(LIST)
        with pytest.raises(Denied, match="invalid"):
            await member.write(LIST, somebody={"details": "else"})
        await member.send(4, LIST, "typing", None)
        assert (await member.until(lambda message: message[0] == 4))[2] == "invalid"


async def test_details_are_short(member: Member) -> None:
    await member.send(0, LIST, None, None, "x" * presence.MAX_DETAILS)
    assert (await member.until(lambda message: message[0] == 4))[2] == "invalid"
    assert await member.join("sheet/a")


async def test_a_join_that_was_refused_leaves_nothing_behind(member: Member) -> None:
    await member.send(0, LIST, None, None, "x" * presence.MAX_DETAILS)
    with pytest.raises(Denied, match="not_joined"):
        await member.call(LIST, "add")


async def test_who_was_refused_for_its_details_may_try_again(open_app: OpenApp) -> None:
    async with open_app() as (app, address), Member.connect(address) as member:
        await member.send(0, LIST, None, None, "x" * presence.MAX_DETAILS)
        await member.receive()
        await until(lambda: LIST not in app.ctx.hub.rooms)
        await member.join(LIST)
        await member.sees(LIST, lambda listed: len(listed) == 1)


@pytest.fixture
async def member(connect: Connect) -> AsyncIterator[Member]:
    async with connect() as member:
        yield member


async def test_the_application_sees_who_is_in_a_room_and_removes_them(open_app: OpenApp) -> None:
    async with open_app() as site, site.connect() as ann, site.connect() as bob:
        rooms = rooms_of(site.app)
        for member in (ann, bob):
            await member.join("sheet/a")
            await member.join(LIST)

        async def listed(*members: str) -> bool:
            return set(await rooms.members("sheet/a")) == set(members)

        await until(lambda: listed(ann.welcome[2], bob.welcome[2]))
        await rooms.kick("sheet/a", member=bob.welcome[2])
        kicked = [await bob.until(lambda message: message[0] == 4) for _ in range(2)]
        assert {message[4] for message in kicked} == {"sheet/a", LIST}
        await until(lambda: listed(ann.welcome[2]))
        assert [name async for name in rooms.names()] == []


async def test_who_is_in_the_list_alone_is_removed_with_the_others(open_app: OpenApp) -> None:
    async with open_app() as site, site.connect() as ann:
        rooms = rooms_of(site.app)
        await ann.join(LIST)

        async def listed() -> bool:
            return bool(await rooms.members("sheet/a"))

        await until(listed)
        await rooms.kick("sheet/a", member=ann.welcome[2])
        await ann.until(lambda message: message[:3] == [4, None, "kicked"] and message[4] == LIST)

        async def empty() -> bool:
            return not await listed()

        await until(empty)
