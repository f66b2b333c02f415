"""What a client may do in a room, and what others are told of it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gospa import (
    Rooms,
)
from gospa.live.seat import MAX_DETAILS
from gospa.testing import OpenApp, Refused, Site, until
from tests.gospa.live.hall import HALL, Hall
from tests.gospa.raw_client import raw_client


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([Hall], session_check_interval=3600) as site:
        site.app.ctx.broken = False
        yield site


async def test_joined_says_what_a_client_may_do(site: Site) -> None:
    async with raw_client(site) as visitor, raw_client(site, user="ann") as ann:
        for client in (visitor, ann):
            await client.join(HALL)
        assert (visitor.access[HALL], ann.access[HALL]) == ("read", "full")


async def test_who_has_no_access_is_shown_nothing(site: Site) -> None:
    async with raw_client(site, cookie=await site.log_in("bob", banned=True)) as bob:
        with pytest.raises(Refused, match="unauthorized: you may not enter hall/a"):
            await bob.join(HALL)
        assert bob.states == {}


@pytest.mark.parametrize(
    "request_",
    [
        [2, 1, HALL, "speak", {}],
        [2, 1, HALL, "nothing", {}],
        [3, 1, HALL, {"title": "x"}, []],
        [4, HALL, "waved", "x"],
        [7, bytes(16), HALL, "shout", {}],
    ],
    ids=["action", "unknown action", "write", "event", "command"],
)
async def test_a_reader_does_nothing(site: Site, request_: list[Any]) -> None:
    async with raw_client(site) as visitor:
        await visitor.join(HALL)
        await visitor.send(*request_)
        refusal = await visitor.until(lambda message: message[0] == 4)
        # Without a number, `unauthorized` would say that access to the room is lost.
        number, code = (None, "refused") if request_[0] == 4 else (request_[1], "unauthorized")
        assert refusal[1:] == [number, code, f"you may only read {HALL}", HALL]
        assert (await visitor.join(HALL))["title"] == ""


async def test_a_reader_sees_state_and_events(site: Site) -> None:
    async with raw_client(site) as visitor, raw_client(site, user="ann") as ann:
        for client in (visitor, ann):
            await client.join(HALL)
        await ann.call(HALL, "speak")
        await visitor.sees(HALL, lambda state: state["spoken"] == 1)
        await ann.emit(HALL, "waved", "hello")
        assert await visitor.hears(HALL, "waved") == "hello"


async def test_what_is_allowed_is_decided_for_each_action_event_field_and_command(
    site: Site,
) -> None:
    forbidden = ["speak", "waved", "notes", "shout"]
    async with raw_client(site, cookie=await site.log_in("bob", forbidden=forbidden)) as bob:
        await bob.join(HALL)
        for refused in (
            bob.call(HALL, "speak"),
            bob.write(HALL, notes="x"),
            bob.write(HALL, title="x", delete=["notes"]),
            bob.run(HALL, "shout"),
        ):
            with pytest.raises(Refused, match="unauthorized: you may not use"):
                await refused
        await bob.emit(HALL, "waved", "x")
        assert (await bob.until(lambda message: message[0] == 4))[2] == "refused"
        await bob.write(HALL, title="x")
        assert (await bob.join(HALL))["title"] == "x"


async def test_the_application_is_not_asked_for(site: Site, rooms: Rooms) -> None:
    site.app.ctx.broken = True
    assert await rooms.call(Hall.speak, HALL) == [None, {}, None]


async def test_a_rule_that_fails_is_an_error_of_that_request_alone(site: Site) -> None:
    async with raw_client(site, user="ann") as ann:
        await ann.join(HALL)
        site.app.ctx.broken = True
        for refused in (
            ann.call(HALL, "speak"),
            ann.write(HALL, title="x"),
            ann.run(HALL, "shout"),
        ):
            with pytest.raises(Refused, match="internal"):
                await refused
        await ann.emit(HALL, "waved", "x")
        assert (await ann.until(lambda message: message[0] == 4))[2] == "internal"
        site.app.ctx.broken = False
        assert (await ann.call(HALL, "speak"))[0] == "ann"


async def test_a_request_that_was_answered_so_is_not_applied_when_it_is_repeated(
    site: Site,
) -> None:
    cookie = await site.log_in("ann")
    async with raw_client(site, cookie=cookie) as ann:
        await ann.join(HALL)
        site.app.ctx.broken = True
        with pytest.raises(Refused, match="internal"):
            await ann.call(HALL, "speak")
        site.app.ctx.broken = False
        await ann.call(HALL, "speak")
        async with raw_client(site, cookie=cookie, client=ann.client) as again:
            await again.join(HALL)
            with pytest.raises(Refused, match="was refused before"):
                await again.call(HALL, "speak")


async def test_what_others_are_told_of_a_sender_is_what_the_server_vouches_for(
    site: Site,
) -> None:
    cookie = await site.log_in("ann", name="Ann")
    async with raw_client(site, cookie=cookie) as ann, raw_client(site) as visitor:
        await ann.join(HALL, claims={"name": "the queen", "user": "root"})
        await visitor.join(HALL)
        await ann.emit(HALL, "waved", "hello")
        event = await visitor.until(lambda message: message[0] == 2)
        sender = {"id": ann.welcome[2], "user": "ann", "info": {"name": "Ann"}}
        assert event == [2, HALL, "waved", "hello", sender]


async def test_actions_and_commands_are_told_what_is_vouched_for_and_what_is_claimed(
    site: Site,
) -> None:
    async with raw_client(site, cookie=await site.log_in("ann", name="Ann")) as ann:
        await ann.join(HALL, claims={"name": "the queen"})
        assert await ann.call(HALL, "speak") == ["ann", {"name": "Ann"}, {"name": "the queen"}]
        assert await ann.run(HALL, "shout") == [True, "ann", {"name": "Ann"}, False]
        await ann.join(HALL, claims="nobody")
        assert (await ann.call(HALL, "speak"))[2] == "nobody"


@pytest.mark.slow
async def test_claims_are_short(site: Site) -> None:
    async with raw_client(site, user="ann") as ann:
        head = 3  # bytes of msgpack for a text of that length
        with pytest.raises(Refused, match=f"invalid: .* {MAX_DETAILS} bytes"):
            await ann.join(HALL, claims="x" * (MAX_DETAILS - head + 1))
        with pytest.raises(Refused, match="not_joined"):
            await ann.call(HALL, "speak")
        await until(lambda: HALL not in site.app.ctx.hub.rooms)
        claims = "x" * (MAX_DETAILS - head)
        await ann.join(HALL, claims=claims)
        assert (await ann.call(HALL, "speak"))[2] == claims


@pytest.mark.parametrize("said", [None, ["Ann"], {"name": object()}, {1: "Ann"}])
async def test_an_introduction_that_cannot_be_told_lets_nobody_in(
    site: Site, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    monkeypatch.setattr(Hall, "introduce", lambda *_: said)
    async with raw_client(site, user="ann") as ann:
        with pytest.raises(Refused, match="internal"):
            await ann.join(HALL)
