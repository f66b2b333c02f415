"""Lists of who is in a room."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from gospa import Rooms
from gospa.extras import presence
from gospa.live import reviews, visits
from gospa.live.seat import MAX_DETAILS
from gospa.rooms import MEMBERS
from gospa.sessions.session import LONGEST_USER
from gospa.stats import Stats
from gospa.testing import OpenApp, Refused, Site, until
from tests.gospa.extras.listing import PEOPLE, TABS, Party, Seen, Tabs, has, id_of, listed
from tests.gospa.raw_client import RawClient, raw_client
from tests.gospa.rooms import ROOMS


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "REVIEW", 0.05)
    monkeypatch.setattr(visits, "LEASE", 0.2)


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([*ROOMS, Tabs, Party], presence_size=3) as site:
        yield site


async def test_members_see_who_is_there_and_what_each_claims(site: Site) -> None:
    cookie = await site.log_in("ann", name="Ann")
    async with raw_client(site, cookie=cookie) as ann, raw_client(site) as visitor:
        await ann.join(TABS, claims={"name": "the queen"})
        await visitor.join(TABS)
        state = await visitor.sees(TABS, has(2, id_of(ann), id_of(visitor)))
        assert listed(state) == {
            id_of(ann): {
                "user": "ann",
                "info": {"name": "Ann"},
                "claims": {"name": "the queen"},
                "tabs": 1,
            },
            id_of(visitor): {"user": None, "info": {}, "claims": None, "tabs": 1},
        }


@pytest.mark.slow
async def test_who_leaves_or_is_gone_is_not_listed(site: Site) -> None:
    async with raw_client(site) as one:
        await one.join(TABS)
        async with raw_client(site) as other:
            await other.join(TABS)
            await one.sees(TABS, has(2, id_of(one), id_of(other)))
            await other.send(1, TABS)
            await one.sees(TABS, has(1, id_of(one)))
            await other.join(TABS)
            await one.sees(TABS, has(2, id_of(one), id_of(other)))
        await one.sees(TABS, has(1, id_of(one)))


async def test_a_list_without_members_is_deleted(site: Site) -> None:
    store = site.app.ctx.hub.store

    async def stored() -> list[str]:
        return [name async for name in store.names()]

    async with raw_client(site) as one:
        await one.join("sheet/a")
        for _ in range(2):
            await one.join(TABS)
            await one.sees(TABS, has(1, id_of(one)))
            assert await stored() == [TABS]  # and not the room that was only looked at
            await one.send(1, TABS)

            async def deleted() -> bool:
                return await stored() == []

            await until(deleted)


async def test_what_a_member_claims_later_replaces_what_it_claimed(site: Site) -> None:
    async with raw_client(site) as one, raw_client(site) as other:
        await other.join(TABS)
        for claims in ("Ann", "Anna"):
            await one.join(TABS, claims=claims)
        await other.sees(
            TABS, lambda state: listed(state).get(id_of(one), {}).get("claims") == "Anna"
        )
        assert other.states[TABS]["count"] == 2


@pytest.mark.slow
async def test_all_are_counted_and_only_the_first_are_shown(site: Site, rooms: Rooms) -> None:
    async with raw_client(site) as first:
        await first.join(TABS)
        await first.sees(TABS, has(1, id_of(first)))
        clients = [raw_client(site) for _ in range(4)]
        entered = [await each.__aenter__() for each in clients]
        for client in entered:
            await client.join(TABS)
        state = await first.sees(TABS, lambda state: state["count"] == 5)
        assert len(listed(state)) == 3
        members = await rooms.members("tabs")
        assert (members.count, len(members.people)) == (5, 3)
        hidden = next(each for each in entered if id_of(each) not in listed(state))
        await hidden.send(1, TABS)
        await first.sees(TABS, lambda state: state["count"] == 4)
        for each in clients:
            await each.__aexit__(None, None, None)
        await first.sees(TABS, has(1, id_of(first)))


def counts(members: int) -> Seen:
    return lambda state: state["count"] == members


async def test_who_is_counted_and_not_shown_is_told_and_that_is_logged_once(
    site: Site, stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(site)) for _ in range(5)]
        for number, client in enumerate(clients):
            await client.join(TABS)
            await clients[0].sees(TABS, counts(number + 1))
        for hidden in clients[3:]:
            told = await hidden.until(lambda message: message[0] == 4)
            assert told[1:3] == [None, "unlisted"]
            assert told[4] == TABS
            await hidden.sees(TABS, lambda state: state["count"] == 5)
        assert stats.unlisted == 2
        assert caplog.text.count("some members are not listed") == 1
        await clients[0].send(1, TABS)
        await clients[1].sees(TABS, lambda state: id_of(clients[0]) not in listed(state))
        await clients[0].join(TABS)
        await clients[1].sees(TABS, lambda state: id_of(clients[0]) in listed(state))


async def test_a_full_list_removes_who_left_and_lists_who_came_later(
    open_app: OpenApp, stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    """What its members say of themselves takes all the space that the room has."""
    claims = "x" * 900
    async with (
        open_app([Tabs], room_size=16 * 1024) as site,
        AsyncExitStack() as stack,
        raw_client(site) as ann,
    ):
        await ann.join(TABS, claims=claims)
        await ann.sees(TABS, has(1, id_of(ann)))
        crowd = [await stack.enter_async_context(raw_client(site)) for _ in range(20)]
        for each in crowd:
            await each.join(TABS, claims=claims)
        await until(lambda: stats.unlisted >= 5)
        bob = await stack.enter_async_context(raw_client(site))
        await bob.join(TABS, claims=claims)
        told = await bob.until(lambda message: message[0] == 4)
        assert told[1:3] == [None, "unlisted"]
        assert id_of(ann) in listed(bob.states[TABS])
        for each in [ann, *crowd]:
            await each.send(1, TABS)
        await bob.sees(TABS, has(1, id_of(bob)))
        assert caplog.text.count("some members are not listed") == 1
        assert "Traceback" not in caplog.text


async def test_a_full_list_lists_who_says_little(open_app: OpenApp, stats: Stats) -> None:
    async with open_app([Tabs], room_size=16 * 1024) as site, AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(raw_client(site)) for _ in range(20)]
        for each in crowd:
            await each.join(TABS, claims="x" * 900)
        await until(lambda: stats.unlisted > 0)
        quiet = await stack.enter_async_context(raw_client(site))
        await quiet.join(TABS)
        await quiet.sees(TABS, lambda state: id_of(quiet) in listed(state))


@pytest.mark.slow
async def test_a_room_may_list_each_user_once_with_the_tabs(site: Site) -> None:
    async with raw_client(site) as visitor, raw_client(site, user="ann") as ann:
        for client in (visitor, ann):
            await client.join(PEOPLE)
        async with raw_client(site, user="ann") as again:
            await again.join(PEOPLE, claims="on the phone")
            state = await ann.sees(PEOPLE, lambda state: state["count"] == 3)
            assert sorted(listed(state)) == sorted([id_of(visitor), "user:ann"])
            assert listed(state)["user:ann"]["tabs"] == 2
            assert listed(state)[id_of(visitor)]["tabs"] == 1
            await again.send(1, PEOPLE)
            await ann.sees(PEOPLE, has(2, id_of(visitor), "user:ann"))
            assert listed(ann.states[PEOPLE])["user:ann"]["tabs"] == 1
            await again.join(PEOPLE)
            await ann.sees(PEOPLE, lambda state: listed(state)["user:ann"]["tabs"] == 2)
        await ann.sees(PEOPLE, has(2, id_of(visitor), "user:ann"))


@pytest.mark.parametrize("length", [100, 101, LONGEST_USER])
async def test_a_user_is_listed_whatever_the_name(site: Site, length: int) -> None:
    user = "\u00e9" * length
    async with raw_client(site, user=user) as one, raw_client(site, user=user) as other:
        for client in (one, other):
            await client.join(PEOPLE)
        state = await one.sees(PEOPLE, lambda state: state["count"] == 2)
        assert [(each["user"], each["tabs"]) for each in listed(state).values()] == [(user, 2)]


@pytest.mark.parametrize(("room", "key"), [(TABS, None), (PEOPLE, "user:ann")])
async def test_a_visitor_who_logs_in_becomes_the_user(
    site: Site, monkeypatch: pytest.MonkeyPatch, room: str, key: str | None
) -> None:
    monkeypatch.setattr(visits, "LEASE", 3600.0)
    client = os.urandom(16)
    async with raw_client(site) as watching:
        await watching.join(room)
        async with raw_client(site, client=client) as visitor:
            await visitor.join(room)
            await watching.sees(room, has(2, id_of(watching), id_of(visitor)))
        async with raw_client(site, client=client, user="ann") as ann:
            await ann.join(room)
            shown = key or id_of(ann)
            await watching.sees(
                room, lambda state: listed(state).get(shown, {}).get("user") == "ann"
            )
            await watching.sees(room, has(2, id_of(watching), shown))
            await ann.send(1, room)
            await watching.sees(room, has(1, id_of(watching)))


async def test_members_of_all_workers_are_listed_on_each(site: Site, open_app: OpenApp) -> None:
    if not site.app.ctx.backends.state.shared:
        pytest.skip("workers share nothing")
    async with (
        open_app([Tabs], presence_size=3) as other,
        raw_client(site) as ann,
        raw_client(other) as bob,
    ):
        for client in (ann, bob):
            await client.join(TABS)
        for client in (ann, bob):
            await client.sees(TABS, has(2, id_of(ann), id_of(bob)))


async def test_clients_of_a_worker_that_stops_stay_listed_as_they_will_be_back_elsewhere(
    open_app: OpenApp,
) -> None:
    async with open_app([Tabs]) as site, raw_client(site) as member:
        await member.join(TABS)
        await member.sees(TABS, has(1, id_of(member)))
        local = site.app.ctx.hub.rooms[TABS]
        await site.app.ctx.hub.drain()
        await site.app.ctx.connections.close()
        await local.mutations.idle.wait()
        stored = await site.app.ctx.hub.store.load(TABS)
        assert f"people/{id_of(member)}" in stored.fields


async def test_a_room_without_presence_does_not_tell_who_is_in_it(site: Site) -> None:
    async with raw_client(site) as member:
        for room in ("my#members", "tabs#others", f"{TABS}#members", "#members", "tabs#"):
            with pytest.raises(Refused, match="unknown_room"):
                await member.join(room)


async def test_a_list_is_for_those_who_may_be_in_the_room(site: Site) -> None:
    async with raw_client(site, cookie=await site.log_in("bob", banned=True)) as bob:
        with pytest.raises(Refused, match="unauthorized"):
            await bob.join(TABS)


async def test_a_list_of_members_takes_nothing_from_clients(site: Site) -> None:
    async with raw_client(site) as member:
        await member.join(TABS)
        for values in ({"count": 7}, {"people/x": {"user": "ann"}}, {"$workers/x": 1}):
            with pytest.raises(Refused, match="invalid"):
                await member.write(TABS, **values)
        for name in ("joined", "left", "updated"):
            with pytest.raises(Refused, match="unknown_action"):
                await member.call(TABS, name)
        await member.emit(TABS, "typing")
        assert (await member.until(lambda message: message[0] == 4))[2] == "invalid"


@pytest.mark.slow
async def test_a_join_that_was_refused_lists_nobody_and_may_be_tried_again(site: Site) -> None:
    async with raw_client(site) as member:
        with pytest.raises(Refused, match="invalid"):
            await member.join(TABS, claims="x" * MAX_DETAILS)
        with pytest.raises(Refused, match="not_joined"):
            await member.call(TABS, "add")
        await until(lambda: TABS not in site.app.ctx.hub.rooms)
        await member.join(TABS, claims="x")
        await member.sees(TABS, has(1, id_of(member)))


# The application sees it and decides it


def lists(rooms: Rooms, *expected: RawClient) -> Callable[[], Awaitable[bool]]:
    async def same() -> bool:
        members = await rooms.members("tabs")
        return set(members.people) == {id_of(each) for each in expected}

    return same


async def test_the_application_sees_who_is_in_a_room_and_removes_them(
    site: Site, rooms: Rooms
) -> None:
    async with raw_client(site) as ann, raw_client(site) as bob:
        for member in (ann, bob):
            await member.join("tabs")
            await member.join(TABS)
        await until(lists(rooms, ann, bob))
        await rooms.kick("tabs", member=id_of(bob))
        kicked = [await bob.until(lambda message: message[0] == 4) for _ in range(2)]
        assert {message[4] for message in kicked} == {"tabs", TABS}
        await until(lists(rooms, ann))
        assert [name async for name in rooms.names()] == []


async def test_who_is_in_the_list_alone_is_removed_with_the_others(
    site: Site, rooms: Rooms
) -> None:
    async with raw_client(site) as ann:
        await ann.join(TABS)
        await until(lists(rooms, ann))
        await rooms.kick("tabs", member=id_of(ann))
        await ann.until(lambda message: message[:3] == [4, None, "kicked"] and message[4] == TABS)
        await until(lists(rooms))


async def test_who_may_no_longer_be_in_the_room_is_removed_from_both(
    site: Site, rooms: Rooms
) -> None:
    cookie = await site.log_in("bob")
    async with raw_client(site, cookie=cookie) as bob:
        for room in ("tabs", TABS):
            await bob.join(room)
        await until(lists(rooms, bob))
        record = await site.app.ctx.sessions.load(cookie.partition("=")[2])
        record.session["banned"] = True
        await site.app.ctx.sessions.save(record)
        site.app.ctx.session_watch.on_gap()
        lost = [await bob.until(lambda message: message[0] == 4) for _ in range(2)]
        assert {(message[2], message[4]) for message in lost} == {
            ("unauthorized", "tabs"),
            ("unauthorized", TABS),
        }
        await until(lists(rooms))


def test_the_names_of_lists_are_those_that_the_application_knows() -> None:
    assert presence.SUFFIX == MEMBERS
