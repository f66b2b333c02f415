"""Commands: run at least once, with each of their changes applied once."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gospa import Access, Session, StoreUnavailable, rooms_of
from gospa.live import limits
from gospa.live.commands import MAX_RUNNING
from gospa.testing import OpenApp, Refused, Site, until
from tests.gospa.bank import BANK, Bank, World, open_bank
from tests.gospa.raw_client import ConnectRaw, raw_client


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_bank(open_app) as site:
        yield site


@pytest.fixture
def world(site: Site) -> World:
    world: World = site.app.ctx.world
    return world


async def test_a_command_answers_with_its_result_and_its_changes_are_seen(
    connect_raw: ConnectRaw,
) -> None:
    async with connect_raw(user="ann") as ann, connect_raw() as other:
        for member in (ann, other):
            await member.join(BANK)
        assert await ann.run(BANK, "order", amount=5) == [5, "ann"]
        await other.sees(BANK, lambda state: (state["paid"], state["fees"]) == (5, 1))


async def test_a_command_that_is_run_again_changes_nothing_again(connect_raw: ConnectRaw) -> None:
    id = os.urandom(16)
    async with connect_raw() as ann:
        await ann.join(BANK)
        assert await ann.run(BANK, "order", id=id, amount=5) == [5, None]
        async with connect_raw(client=ann.client, cookie=ann.cookie) as again:
            await again.join(BANK)
            assert await again.run(BANK, "order", id=id, amount=5) == [None, None]
            assert await again.run(BANK, "order", amount=5) == [10, None]
            await again.sees(BANK, lambda state: (state["paid"], state["fees"]) == (10, 2))


async def test_a_command_that_stopped_in_the_middle_goes_on_when_it_is_run_again(
    site: Site, world: World
) -> None:
    id = os.urandom(16)
    world.answers.clear()
    async with raw_client(site) as ann:
        await ann.join(BANK)
        await ann.send(7, id, BANK, "order", {"amount": 5})
        await ann.sees(BANK, lambda state: state["paid"] == 5)
        await until(lambda: world.asked == 1)
    await until(lambda: not site.app.ctx.connections)
    world.answers.set()
    async with raw_client(site, client=ann.client, cookie=ann.cookie) as again:
        assert await again.join(BANK) == {"paid": 5, "fees": 0, "log": []}
        assert await again.run(BANK, "order", id=id, amount=5) == [None, None]
        await again.sees(BANK, lambda state: (state["paid"], state["fees"]) == (5, 1))
    first, second = site.app.ctx.runs
    assert first == second, "services are asked under one idempotency key"


async def test_two_runs_of_one_command_at_once_change_a_room_once(site: Site, world: World) -> None:
    id = os.urandom(16)
    world.answers.clear()
    async with raw_client(site) as ann:
        await ann.join(BANK)
        async with raw_client(site, client=ann.client, cookie=ann.cookie) as again:
            await again.join(BANK)
            for member in (ann, again):
                await member.send(7, id, BANK, "order", {"amount": 5})
            await until(lambda: world.asked == 2)
            world.answers.set()
            results = [(await m.until(lambda m: m[0] == 9))[2][0] for m in (ann, again)]
            assert sorted(results, key=str) == [5, None]
            await ann.sees(BANK, lambda state: (state["paid"], state["fees"]) == (5, 1))


async def test_the_id_of_a_command_is_its_clients_alone(
    connect_raw: ConnectRaw, site: Site
) -> None:
    id = os.urandom(16)
    async with connect_raw() as ann, connect_raw() as bob:
        for member in (ann, bob):
            await member.join(BANK)
            assert (await member.run(BANK, "order", id=id, amount=5))[0] is not None
        await ann.sees(BANK, lambda state: state["paid"] == 10)
    assert len(set(site.app.ctx.runs)) == 2


async def test_commands_have_no_part_in_the_numbers_of_mutations(site: Site, world: World) -> None:
    world.answers.clear()
    async with raw_client(site) as ann:
        await ann.join(BANK)
        await ann.send(7, bytes(16), BANK, "ask", {})
        await until(lambda: world.asked == 1)
        with pytest.raises(Refused, match="only the application may call charge"):
            await ann.call(BANK, "charge")  # it is answered before the command ends
        world.answers.set()
        assert (await ann.until(lambda m: m[0] == 9)) == [9, bytes(16), "yes"]


async def test_a_visitor_has_so_many_commands_under_way_over_all_connections(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_COMMANDS", 2)
    world.answers.clear()
    async with (
        raw_client(site) as one,
        raw_client(site, cookie=one.cookie) as two,
        raw_client(site) as other,
    ):
        for member in (one, two, other):
            await member.join(BANK)
        for member in (one, two):
            await member.send(7, os.urandom(16), BANK, "ask", {})
        await until(lambda: world.asked == 2)
        with pytest.raises(Refused, match="busy"):
            await two.run(BANK, "ask")
        other_asks = asyncio.ensure_future(other.run(BANK, "ask"))
        await until(lambda: world.asked == 3)
        world.answers.set()
        assert await other_asks == "yes"
        for member in (one, two):
            await member.until(lambda message: message[0] == 9)
        assert await two.run(BANK, "ask") == "yes"


async def test_a_connection_has_a_few_commands_under_way(site: Site, world: World) -> None:
    world.answers.clear()
    async with raw_client(site) as ann, raw_client(site) as bob:
        for member in (ann, bob):
            await member.join(BANK)
        for number in range(MAX_RUNNING):
            await ann.send(7, bytes([number]) * 16, BANK, "ask", {})
        with pytest.raises(Refused, match="busy"):
            await ann.run(BANK, "ask")
        bob_asks = asyncio.ensure_future(bob.run(BANK, "ask"))
        await until(lambda: world.asked == MAX_RUNNING + 1)
        world.answers.set()
        assert await bob_asks == "yes"
        for _ in range(MAX_RUNNING):
            await ann.until(lambda m: m[0] == 9)
        assert await ann.run(BANK, "ask") == "yes"


@pytest.mark.parametrize(
    ("name", "args", "code"),
    [
        ("order", {}, "invalid"),
        ("order", {"amount": "5"}, "invalid"),
        ("order", {"amount": 5, "caller": {}}, "invalid"),
        ("order", {"amount": 500}, "refused: this is too much"),
        ("pay", {"amount": 5}, "unknown_action"),
        ("answer_oddly", {}, "internal"),
        ("reach", {}, "invalid: Other.go is not an action of bank/a"),
    ],
)
async def test_what_a_command_refuses_or_fails_with_changes_nothing(
    connect_raw: ConnectRaw, name: str, args: dict[str, Any], code: str
) -> None:
    async with connect_raw() as ann:
        before = dict(await ann.join(BANK))
        with pytest.raises(Refused, match=code):
            await ann.run(BANK, name, **args)
        assert await ann.join(BANK) == before


async def test_a_step_that_was_refused_is_refused_again(connect_raw: ConnectRaw) -> None:
    id = os.urandom(16)
    async with connect_raw() as ann:
        await ann.join(BANK)
        for _ in range(2):
            with pytest.raises(Refused, match="refused"):
                await ann.run(BANK, "order", id=id, amount=500)


async def test_commands_are_cancelled_at_shutdown_and_their_clients_told(
    open_app: OpenApp,
) -> None:
    world = World()
    world.answers.clear()
    async with contextlib.AsyncExitStack() as clients:
        async with open_app([Bank]) as site:
            site.app.ctx.answer = world.answer
            ann = await clients.enter_async_context(raw_client(site))
            await ann.join(BANK)
            await ann.send(7, bytes(16), BANK, "ask", {})
            await until(lambda: world.asked == 1)
        answer = await ann.until(lambda message: message[0] == 4)
        assert answer[1:3] == [bytes(16), "unavailable"]
        assert (await ann.until(lambda message: message[0] == 6))[1] == 1012


async def test_a_command_whose_step_has_an_unknown_outcome_is_unavailable_until_it_is_run_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_client(site) as ann:
        await ann.join(BANK)
        store, id = site.app.ctx.hub.store, os.urandom(16)

        async def be_away(*_: Any) -> Any:
            raise StoreUnavailable("it is away")

        with monkeypatch.context() as patch:
            patch.setattr(store, "commit", be_away)
            with pytest.raises(Refused, match="unavailable"):
                await ann.run(BANK, "order", id=id, amount=5)
        assert await ann.run(BANK, "order", id=id, amount=5) == [5, None]
        await ann.sees(BANK, lambda state: (state["paid"], state["fees"]) == (5, 1))


@pytest.mark.parametrize("lost", ["kicked", "unauthorized", "read"])
async def test_a_command_changes_nothing_more_after_its_member_lost_access(
    site: Site, world: World, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.answers.clear()
    rooms = rooms_of(site.app)
    async with raw_client(site, user="ann") as ann, raw_client(site, user="bob") as bob:
        for member in (ann, bob):
            await member.join(BANK)
            await member.send(7, bytes(16), BANK, "order", {"amount": 5})
        await until(lambda: world.asked == 2)
        if lost == "kicked":
            await rooms.kick(BANK, user="ann")
        else:
            access = Access.NONE if lost == "unauthorized" else Access.READ

            async def authorize(_: Bank, session: Session) -> Access:
                return access if session.user == "ann" else Access.FULL

            monkeypatch.setattr(Bank, "authorize", authorize)
            await rooms.reauthorize(BANK)
        await ann.until(lambda m: m[:3] == [4, None, lost] or (m[0] == 8 and m[-1] == lost))
        world.answers.set()
        answer = await ann.until(lambda message: message[:2] == [4, bytes(16)])
        assert answer[2:4] == ["unauthorized", f"you may no longer change {BANK}"]
        assert (await bob.until(lambda message: message[0] == 9))[2][1] == "bob"
        state = await rooms.read(Bank, BANK)
        assert (state.paid, state.fees) == (10, 1)


async def test_a_command_goes_on_after_its_client_has_left_the_room(
    site: Site, world: World
) -> None:
    world.answers.clear()
    async with raw_client(site, user="ann") as ann:
        await ann.join(BANK)
        await ann.send(7, bytes(16), BANK, "order", {"amount": 5})
        await until(lambda: world.asked == 1)
        await ann.send(1, BANK)
        world.answers.set()
        assert (await ann.until(lambda message: message[0] in (4, 9)))[2] == [5, "ann"]
