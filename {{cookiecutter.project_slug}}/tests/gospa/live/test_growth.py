"""What visitors may add to the store: rooms and bytes, and who is not refused because of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gospa import Access, Caller, Member, Room, Rooms, Session, State, action, command
from gospa.errors import StoreFull
from gospa.live.limits import Allowance, Bill, ConnectionLimits, VisitorLimits
from gospa.rates import Visitor
from gospa.sessions.quota import SessionQuota
from gospa.settings import Settings
from gospa.stats import Stats
from gospa.store.contract import Change, Outcome
from gospa.testing import OpenApp, Refused, Site, until
from tests.gospa.raw_client import ConnectRaw, raw_client
from tests.gospa.rooms import ROOMS

LIMITED: Any = {"rooms_per_hour": 5, "stored_per_day": 20_000, "visitors_per_network": 4}


class BlankState(State):
    text: str = ""
    seen: int = 0


class Blank(Room[BlankState]):
    """Begins with what `load` gives, counts visits, and has a command."""

    pattern = "blank/<name>"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    async def load(self) -> BlankState | None:
        return BlankState(text="loaded") if self.params["name"].startswith("loaded") else None

    @action
    def put(self, state: BlankState, size: int) -> None:
        state.text = "x" * size

    @command
    async def fill(self, caller: Caller, size: int) -> None:
        await caller.call(Blank.put, size)


class Seen(Room[BlankState]):
    pattern = "seen/<name>"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    def joined(self, state: BlankState, member: Member) -> None:
        state.seen += 1

    @action
    def put(self, state: BlankState, text: str) -> None:
        state.text = text


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([*ROOMS, Blank, Seen], **LIMITED) as site:
        yield site


async def refused(work: Callable[[int], Any], tries: int) -> list[str]:
    """The codes of the tries that were refused."""
    codes = []
    for number in range(tries):
        try:
            await work(number)
        except Refused as error:
            codes.append(error.code)
    return codes


async def test_a_visitor_creates_so_many_rooms_and_others_go_on(
    site: Site, connect_raw: ConnectRaw, stats: Stats
) -> None:
    async with connect_raw() as greedy, connect_raw() as other:

        async def create(number: int) -> None:
            await greedy.join(f"sheet/{number}")
            await greedy.call(f"sheet/{number}", "add")

        assert await refused(create, 8) == ["rate_limited"] * 3
        assert stats.of("limit_rooms") == 3
        assert await greedy.call("sheet/0", "add") == 2  # in a room that is there
        await other.join("sheet/new")
        assert await other.call("sheet/new", "add") == 1


async def test_a_refusal_says_when_to_try_again(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as greedy:
        await greedy.join("blank/a")
        with pytest.raises(Refused, match=r"remove something, or try again in \d+ s"):
            await greedy.call("blank/a", "put", size=30_000)


@pytest.mark.parametrize("name", ["blank/loaded{}", "seen/{}", "sheet/{}#members"])
async def test_a_room_that_a_visit_stores_counts_as_created_by_its_visitor(
    connect_raw: ConnectRaw, rooms: Rooms, name: str
) -> None:
    async with connect_raw() as greedy, connect_raw() as other:

        async def join(number: int) -> None:
            await greedy.join(name.format(number))

        codes = await refused(join, 7)
        assert codes == ["rate_limited"] * 2
        new = name.format(6)
        await other.join(new)
        await other.sees(new, lambda _: other.heads[new][0] > 0)
        await greedy.join(new)
        await greedy.join("blank/a")  # and this one stores nothing


async def test_who_waits_for_a_room_with_a_visitor_at_the_limit_enters(site: Site) -> None:
    async with raw_client(site) as greedy, raw_client(site) as other:
        for number in range(5):
            await greedy.join(f"blank/loaded{number}")
        for number in range(5, 9):
            await greedy.send(0, f"blank/loaded{number}", None, None)
            await other.send(0, f"blank/loaded{number}", None, None)
        await other.until(lambda _: len(other.access) == 4)


async def test_a_visitor_stores_so_many_bytes_and_smaller_changes_go_on(
    connect_raw: ConnectRaw, stats: Stats
) -> None:
    async with connect_raw() as greedy, connect_raw() as other:
        await greedy.join("blank/a")
        await greedy.call("blank/a", "put", size=15_000)
        assert (
            await refused(lambda _: greedy.call("blank/a", "put", size=30_000), 2)
            == ["rate_limited"] * 2
        )
        await greedy.call("blank/a", "put", size=16_000)
        await greedy.call("blank/a", "put", size=10)
        await greedy.call("blank/a", "put", size=16_000)  # what was removed is given back
        await other.join("blank/a")
        await other.call("blank/a", "put", size=17_000)
        await other.sees("blank/a", lambda state: state["text"] == "x" * 17_000)
        assert stats.of("limit_bytes") == 2


async def test_commands_store_at_the_expense_of_who_runs_them(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as greedy:
        await greedy.join("blank/a")
        await greedy.run("blank/a", "fill", size=15_000)
        with pytest.raises(Refused, match="rate_limited"):
            await greedy.run("blank/a", "fill", size=30_000)


async def test_the_application_itself_is_not_limited(site: Site, rooms: Rooms) -> None:
    for number in range(20):
        await rooms.call(Blank.put, f"blank/{number}", 10_000)


async def test_a_change_that_is_repeated_or_refused_costs_nothing_more(
    site: Site, connect_raw: ConnectRaw
) -> None:
    async with connect_raw() as member:
        await member.join("blank/a")
        member.number = 1
        for _ in range(10):
            await member.send(2, 1, "blank/a", "put", {"size": 8_000})
        await member.join("sheet/a")
        for _ in range(40):
            with pytest.raises(Refused, match="removed"):
                await member.call("sheet/a", "remove_note", id="none")
        await member.call("blank/a", "put", size=16_000)


async def test_people_behind_one_address_go_on_while_one_of_them_is_refused(site: Site) -> None:
    async with AsyncExitStack() as stack:
        greedy = await stack.enter_async_context(raw_client(site))
        await greedy.join("blank/a")
        await refused(lambda _: greedy.call("blank/a", "put", size=30_000), 20)
        for number in range(3):
            other = await stack.enter_async_context(raw_client(site))
            await other.join(f"blank/{number}")
            await other.call(f"blank/{number}", "put", size=15_000)


async def test_in_a_full_store_changes_that_need_no_room_are_made(
    site: Site, connect_raw: ConnectRaw, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = site.app.ctx.hub.store
    commit = store.commit

    async def full(room: str, change: Change) -> Outcome:
        if any(len(raw) > 300 for raw in change.set.values()):
            raise StoreFull("full")
        return await commit(room, change)

    async with connect_raw() as member, connect_raw() as reader:
        await member.join("sheet/a")
        note = await member.call("sheet/a", "add_note", text="short")
        monkeypatch.setattr(store, "commit", full)
        for number in range(2, 42, 2):  # they share commits
            await member.send(2, number, "sheet/a", "add_note", {"text": "x" * 400})
            await member.send(2, number + 1, "sheet/a", "add", {})
        for number in range(2, 42, 2):
            with pytest.raises(Refused, match="store_full"):
                await member.answer(number)
            assert (await member.answer(number + 1))[3] == number / 2
        member.number = 50
        await member.call("sheet/a", "remove_note", id=note)
        state = await reader.join("sheet/a")
        assert state["count"] == 20
        assert f"notes/{note}" not in state


def test_300_people_behind_one_address_use_it_as_people_do() -> None:
    settings = Settings()
    limits, quota = VisitorLimits(settings), SessionQuota(settings)
    connections = ConnectionLimits(settings)
    for number in range(300):
        connections.admit_handshake("192.0.2.1")
        for _ in range(2):  # tabs
            connections.admit(str(number), "192.0.2.1")
            connections.add(str(number), "192.0.2.1")
        visitor = Visitor(str(number), "192.0.2.1")
        allowance = Allowance(limits, visitor)
        assert quota.begin(visitor.network)
        assert quota.keep(visitor.network)
        quota.log_in(visitor.network)
        quota.store(visitor, 2_000)
        for _ in range(10):
            allowance.create_room()
        Bill(allowance).charge(5, 200_000)
        assert allowance.slow(60, 20_000) == 0


def test_a_bill_counts_the_latest_run_alone() -> None:
    allowance = Allowance(VisitorLimits(Settings(stored_per_day=10_000)), Visitor("a", "home"))
    bill = Bill(allowance)
    for _ in range(50):
        bill.charge(1, 5_000)
    Bill(allowance).charge(0, 3_000)
    bill.refund()
    Bill(allowance).charge(0, 6_900)


@pytest.mark.slow
async def test_the_sockets_of_a_visitor_are_read_no_faster_than_one_may_send(
    open_app: OpenApp, stats: Stats
) -> None:
    async with (
        open_app(frames_per_second=100.0) as site,
        raw_client(site) as first,
        AsyncExitStack() as stack,
        raw_client(site) as other,
    ):
        sockets = [
            await stack.enter_async_context(raw_client(site, cookie=first.cookie)) for _ in range(4)
        ]
        for number, socket in enumerate(sockets):
            await socket.join(f"sheet/{number}")
            for _ in range(300):
                await socket.send(5)
        await until(lambda: stats.of("limit_frames") > 0)
        await other.join("sheet/quiet")
        assert await other.call("sheet/quiet", "add") == 1
        for number, socket in enumerate(sockets):  # slowed down, and neither closed nor dropped
            assert await socket.call(f"sheet/{number}", "add") == 1


@pytest.mark.slow
async def test_a_visitor_that_is_slowed_down_does_not_count_as_silent(
    open_app: OpenApp, stats: Stats
) -> None:
    async with (
        open_app(frames_per_second=10.0, ping_interval=1.0) as site,
        raw_client(site) as first,
        raw_client(site, cookie=first.cookie) as second,
    ):
        for socket in (first, second):
            for _ in range(70):
                await socket.send(5)
        await second.join("sheet/a")
        await second.call("sheet/a", "add")
        assert stats.of("limit_frames")
