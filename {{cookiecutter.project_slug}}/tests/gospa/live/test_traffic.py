"""What a visitor has the server send to others is limited; who does nothing unusual is not."""

from collections.abc import AsyncIterator, Callable

import pytest

from gospa import Rooms, rates
from gospa.errors import Busy, RateLimited
from gospa.live import crowds, limits, requests
from gospa.live.limits import LONGEST, MAX_COMMANDS, Allowance, VisitorLimits
from gospa.rates import BURST, Visitor
from gospa.settings import Settings
from gospa.stats import Stats
from gospa.testing import OpenApp, Site, until
from tests.gospa.raw_client import ConnectRaw, raw_client
from tests.gospa.rooms import Sheet

ROOM = "sheet/a"
ALLOWED = Settings().fanout_per_second


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    """A site at which a visitor may send twenty events at once."""
    async with open_app(events_per_second=2.0) as site:
        yield site


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds."""
    time = [0.0]
    monkeypatch.setattr(rates, "monotonic", lambda: time[0])
    return time


def visitors() -> Callable[[str, str], Allowance]:
    """The accounts of visitors of one worker, by session and network."""
    of_worker = VisitorLimits(Settings())
    return lambda session, network: Allowance(of_worker, Visitor(session, network))


def sent(allowance: Allowance, size: int, receivers: int) -> int:
    """How many bytes of an event are sent."""
    try:
        allowance.admit_event(size, receivers)
    except RateLimited:
        return 0
    return size * receivers


@pytest.mark.parametrize("rate", [20, 30])
def test_a_cursor_moves_thirty_times_a_second_in_a_room_of_sixty(
    clock: list[float], rate: int
) -> None:
    visitor = visitors()("ann", "home")
    for step in range(600 * rate):
        clock[0] = step / rate
        visitor.admit_event(size=400, receivers=60)


@pytest.mark.parametrize(("size", "receivers"), [(16_000, 60), (500, 1000), (100, 10_000)])
def test_what_a_flood_of_events_has_sent_is_bounded(
    clock: list[float], size: int, receivers: int
) -> None:
    visitor, total = visitors()("ann", "home"), 0
    for step in range(60 * 60):
        clock[0] = step / 60
        total += sent(visitor, size, receivers)
    assert 0 < total <= ALLOWED * (60 + BURST)


def test_fresh_sessions_of_one_network_have_no_more_sent_than_it_may(clock: list[float]) -> None:
    allowance, total = visitors(), 0
    for number in range(1000):
        for _ in range(50):
            total += sent(allowance(f"session {number}", "home"), 16_000, 60)
    assert ALLOWED * BURST < total <= ALLOWED * BURST * Settings().visitors_per_network
    assert sent(allowance("ann", "cafe"), 16_000, 60)


def test_three_hundred_people_behind_one_address_type_and_point_at_once(clock: list[float]) -> None:
    allowance = visitors()
    for second in range(60):
        for person in range(300):
            clock[0] = second + person / 300
            for _ in range(4):
                assert sent(allowance(f"person {person}", "school"), 400, 30)


def test_what_is_refused_is_not_paid_for(clock: list[float]) -> None:
    visitor = visitors()("ann", "home")
    for _ in range(1000):
        with pytest.raises(RateLimited):
            visitor.admit_event(16_000, 10_000)
    visitor.admit_event(16_000, 60)


def test_no_visitor_waits_long_whatever_a_change_has_sent(clock: list[float]) -> None:
    allowance = visitors()
    assert allowance("ann", "home").count_sent(1e12) == LONGEST
    assert allowance("bob", "home").count_sent(0) <= LONGEST
    assert allowance("eve", "cafe").count_sent(0) == 0


def test_a_visitor_has_one_allowance_over_all_connections_and_reconnects(
    clock: list[float],
) -> None:
    allowance = visitors()
    allowance("ann", "home").count_sent(ALLOWED * BURST)
    assert allowance("ann", "train").count_sent(ALLOWED) == 1
    assert allowance("bob", "home").count_sent(ALLOWED) == 0


def test_commands_of_a_visitor_and_of_a_network_are_counted_until_they_end() -> None:
    allowance, share = visitors(), Settings().visitors_per_network
    ends = [
        allowance(f"visitor {number}", "home").begin_command()
        for number in range(share)
        for _ in range(MAX_COMMANDS)
    ]
    for session, network in (("visitor 0", "cafe"), ("new", "home")):
        with pytest.raises(Busy):
            allowance(session, network).begin_command()
    allowance("ann", "cafe").begin_command()
    ends[0](None)
    allowance("new", "home").begin_command()


# Over sockets


async def test_events_above_the_rate_are_refused_and_the_sender_is_told(
    site: Site, stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_client(site) as flood, raw_client(site) as ann, raw_client(site) as bob:
        for member in (flood, ann, bob):
            await member.join(ROOM)
        for number in range(30):
            await flood.emit(ROOM, "typing", number)
        refused = await flood.until(lambda message: message[0] == 4)
        assert refused == [4, None, "rate_limited", "too many events: send fewer", ROOM]
        await ann.emit(ROOM, "typing", "hello")

        async def said() -> bool:
            return await bob.hears(ROOM, "typing") == "hello"

        await until(said)
        assert await flood.call(ROOM, "add") == 1
    assert stats.of("limit_events") == 30 - 20
    assert "the limit on events was reached by 127.0.0.1" in caplog.text


async def test_a_visitor_has_no_more_events_over_more_connections(site: Site, stats: Stats) -> None:
    async with raw_client(site) as first, raw_client(site, cookie=first.cookie) as second:
        for member in (first, second):
            await member.join(ROOM)
            for number in range(15):
                await member.emit(ROOM, "typing", number)
        await second.until(lambda message: message[0] == 4)
        await until(lambda: stats.of("limit_events") == 10)


async def test_an_event_may_not_be_larger_than_the_limit(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        await member.join(ROOM)
        await member.emit(ROOM, "typing", "x" * 20_000)
        assert (await member.until(lambda message: message[0] == 4))[2] == "invalid"
        await member.emit(ROOM, "typing", "x" * 16_000)
        assert await member.hears(ROOM, "typing") == "x" * 16_000


async def test_events_that_are_too_much_for_so_many_members_are_refused(
    open_app: OpenApp, stats: Stats
) -> None:
    async with open_app(fanout_per_second=1000.0) as site, raw_client(site) as one:
        await one.join(ROOM)
        await one.emit(ROOM, "typing", "x" * 6000)
        await one.hears(ROOM, "typing")
        async with raw_client(site) as other:
            await other.join(ROOM)
            await one.emit(ROOM, "typing", "x" * 6000)
            refused = await one.until(lambda message: message[0] == 4)
            assert refused[2:4] == ["rate_limited", "too much for 2 members: send less"]
            await other.emit(ROOM, "typing", "x")
            assert await one.hears(ROOM, "typing") == "x"
    assert (stats.of("limit_events"), stats.of("limit_fanout")) == (0, 1)


async def test_the_application_is_not_limited(
    site: Site, connect_raw: ConnectRaw, rooms: Rooms
) -> None:
    async with connect_raw() as member:
        await member.join(ROOM)
        for number in range(30):
            await rooms.send(Sheet.announced, ROOM, str(number))
        assert [await member.hears(ROOM, "announced") for _ in range(30)] == [
            str(number) for number in range(30)
        ]


async def test_who_changes_too_much_for_so_many_waits_and_loses_nothing(
    open_app: OpenApp, stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LONGEST", 0.05)
    async with (
        open_app(fanout_per_second=10.0) as site,
        raw_client(site) as busy,
        raw_client(site) as other,
    ):
        for member in (busy, other):
            await member.join(ROOM)
        for number in range(1, 31):
            await busy.send(2, number, ROOM, "add", {})
        for _ in range(5):
            await other.call("sheet/a", "add", amount=1000)
        assert (await busy.answer(30))[0] == 3
        await other.sees(ROOM, lambda state: state["count"] == 5030)
        assert stats.of("slowed") > 0
    assert stats.of("limit_fanout") == 0


async def test_who_joins_again_and_again_waits(
    open_app: OpenApp, stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LONGEST", 0.05)
    async with (
        open_app(fanout_per_second=1000.0, rooms_per_connection=3) as site,
        raw_client(site) as owner,
        raw_client(site) as member,
    ):
        await owner.join(ROOM)
        for _ in range(20):
            await owner.call(ROOM, "add_note", text="x" * 400)
        before = stats.of("slowed")
        for _ in range(3):
            await member.join(ROOM)
        assert stats.of("slowed") == before
        for _ in range(5):
            await member.join(ROOM)
        assert stats.of("slowed") > before


async def test_members_on_other_workers_count(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowds, "CROWD", 2)
    monkeypatch.setattr(crowds, "INTERVAL", 0.05)
    async with open_app() as site, open_app() as other:
        if not site.app.ctx.backends.state.shared:
            pytest.skip("workers share nothing")
        async with (
            raw_client(site) as alone,
            raw_client(other) as one,
            raw_client(other) as two,
        ):
            for member in (alone, one, two):
                await member.join(ROOM)
            local = site.app.ctx.hub.rooms[ROOM]
            await until(lambda: local.audience == 3)
            there = other.app.ctx.hub.rooms[ROOM]
            assert there.audience == 2  # too few members to be told of


async def test_large_requests_in_progress_stop_the_reading(
    connect_raw: ConnectRaw, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "BACKLOG_BYTES", 10_000)
    async with connect_raw() as member, connect_raw() as other:
        await member.join(ROOM)
        await other.join(ROOM)
        for number in range(1, 41):
            await member.send(2, number, ROOM, "add_note", {"text": "x" * 500})
        assert (await member.answer(40))[0] == 3
        assert await other.call(ROOM, "add") == 1
