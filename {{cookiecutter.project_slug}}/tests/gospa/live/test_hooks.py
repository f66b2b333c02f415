"""Hooks that fail, and what clients see of visits."""

import logging
import os
import re
from collections.abc import AsyncIterator

import msgpack
import pytest

from gospa import Member, Rooms
from gospa.live import reviews, visit_records, visits
from gospa.live.wire import JOINED, PATCH, SNAPSHOT
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store.contract import StateStore
from gospa.testing import OpenApp, Site, until
from tests.gospa.live.visited import NAME, Porch, PorchState, Worker, seat
from tests.gospa.raw_client import RawClient, raw_client


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "REVIEW", 0.05)
    monkeypatch.setattr(visits, "LEASE", 0.2)


@pytest.fixture
async def worker(store: StateStore, pubsub: PubSub, settings: Settings) -> AsyncIterator[Worker]:
    limited = Settings(room_size=50_000, key_prefix=settings.key_prefix)
    worker = await Worker(store, pubsub, limited).open()
    yield worker
    await worker.kill()
    await worker.hub.close()


async def logs(worker: Worker, *expected: str) -> None:
    async def same() -> bool:
        return await worker.log() == list(expected)

    await until(same)


def failures(record: logging.LogRecord) -> int:
    """Return for how many members a hook failed, as this line of the log says."""
    found = re.search(r"a hook of room porch failed for (\d+) members", record.getMessage())
    return int(found[1]) if found else 0


FAILURES = ["raise", "write nonsense", "write much"]


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_hook_that_fails_for_some_stops_no_others_and_is_run_once_for_each(
    worker: Worker,
    failure: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined, runs = Porch.joined, list[str]()

    def counted(self: Porch, state: PorchState, member: Member) -> None:
        runs.append(member.id)
        joined(self, state, member)

    monkeypatch.setattr(Porch, "joined", counted)
    for number in range(60):
        broken = number % 3 != 0
        await worker.enter(seat(f"{number}", claims=failure if broken else None))
    await logs(worker, *(f"joined {number}" for number in range(0, 60, 3)))
    await until(lambda: sum(map(failures, caplog.records)) == 40)
    assert all(each.exc_info for each in caplog.records if failures(each))
    assert sorted(runs, key=int) == [str(number) for number in range(60)]


async def test_a_hook_that_failed_is_not_run_again_and_again(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    broken = seat("1", claims="raise")
    await worker.enter(broken)
    await worker.enter(seat("2"))
    await logs(worker, "joined 2")
    await until(lambda: sum(map(failures, caplog.records)) == 1)
    for _ in range(3):
        await worker.local.review_visits(())
    await worker.local.mutations.idle.wait()
    assert sum(map(failures, caplog.records)) == 1
    worker.leave(broken, orderly=True)
    await worker.enter(seat("1"))
    await logs(worker, "joined 2", "joined 1")


async def test_who_leaves_a_room_that_is_full_has_left(worker: Worker) -> None:
    await worker.enter(seat("1"))
    leaving = seat("2", claims={"text": "x" * 900})
    await worker.enter(leaving)
    await logs(worker, "joined 1", "joined 2")
    worker.leave(leaving, orderly=True)
    await worker.enter(seat("3", claims="write much"))
    await logs(worker, "joined 1", "joined 2", "left 2")


# What clients see


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([Porch], session_check_interval=3600) as site:
        yield site


async def noted(member: RawClient, *expected: str) -> None:
    await member.sees(NAME, lambda state: state["log"] == list(expected))


@pytest.mark.slow
async def test_clients_come_and_go(site: Site) -> None:
    async with raw_client(site, user="ann") as ann:
        await ann.join(NAME)
        async with raw_client(site, user="bob") as bob:
            await bob.join(NAME)
            await noted(ann, "joined ann", "joined bob")
            await bob.send(1, NAME)
            await noted(ann, "joined ann", "joined bob", "left bob")
            await bob.join(NAME)
            await noted(ann, "joined ann", "joined bob", "left bob", "joined bob")
        await ann.sees(NAME, lambda state: state["log"][-1] == "left bob")


async def test_who_is_kicked_has_left(site: Site, rooms: Rooms) -> None:
    async with raw_client(site, user="ann") as ann, raw_client(site, user="bob") as bob:
        for member in (ann, bob):
            await member.join(NAME)
        await noted(ann, "joined ann", "joined bob")
        await rooms.kick(NAME, user="bob")
        await noted(ann, "joined ann", "joined bob", "left bob")


async def test_a_change_of_the_session_is_an_update(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Porch, "introduce", lambda _, session: {"name": session.get("name", "")})
    cookie = await site.log_in("ann", name="Ann")
    async with raw_client(site, cookie=cookie) as ann:
        await ann.join(NAME)
        await noted(ann, "joined ann Ann")
        record = await site.app.ctx.sessions.load(cookie.partition("=")[2])
        record.session["name"] = "Anna"
        await site.app.ctx.sessions.save(record)
        for _ in range(2):
            site.app.ctx.session_watch.on_gap()
        await noted(ann, "joined ann Ann", "updated ann Anna")


async def test_who_the_members_are_reaches_no_client_by_the_state(site: Site) -> None:
    seen: list[bytes] = []

    async def keep(member: RawClient) -> None:
        """Have what a member is sent, until ann has left."""
        while True:
            raw = await member.websocket.recv()
            assert isinstance(raw, bytes)
            seen.append(raw)
            message = msgpack.unpackb(raw, timestamp=3)
            if message[0] == PATCH and "left ann" in message[5].get("log", ()):
                return

    async with raw_client(site) as watching:
        await watching.join(NAME)
        async with raw_client(site, user="ann") as ann:
            await ann.join(NAME, claims="her secret claim")
            await watching.sees(NAME, lambda state: "joined ann" in state["log"])
            site.app.ctx.hub.rooms[NAME].follower._repair("a test")  # noqa: SLF001
            async with raw_client(site) as later:
                await later.send(0, NAME, None, None)
                await ann.join(NAME, claims="her secret claim, changed")
                await later.until(lambda message: message[0] == JOINED)
                await later.send(0, NAME, None, None)
                await ann.send(1, NAME)
                await keep(later)
    stored = await site.app.ctx.hub.store.load(NAME)
    assert any(key.startswith("%visits/") for key in stored.fields)
    assert {message[1] for message in seen} >= {PATCH, SNAPSHOT}
    assert not [raw for raw in seen if b"secret claim" in raw or b"%visits" in raw]


async def test_a_client_that_comes_back_is_on_the_same_visit(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "LEASE", 3600.0)
    client = os.urandom(16)
    async with raw_client(site, user="bob") as bob:
        await bob.join(NAME)
        cookie = await site.log_in("ann")
        for _ in range(3):
            async with raw_client(site, cookie=cookie, client=client) as ann:
                await ann.join(NAME)
                await ann.sees(NAME, lambda state: "joined ann" in state["log"])
        await noted(bob, "joined bob", "joined ann")


def test_the_hidden_keys_are_named_as_the_engine_hides_them() -> None:
    assert visit_records.VISITS.startswith("%")
    assert visit_records.WORKERS.startswith("$")
