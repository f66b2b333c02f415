"""What a log-in and a log-out mean for open sockets, on the chosen backends."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import ConnectionClosed

from gospa.testing import OpenApp, Refused, Site, cookie_of
from tests.gospa.raw_client import RawClient, raw_client
from tests.gospa.rooms import ROOMS
from tests.gospa.views import blueprint


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app(ROOMS, [blueprint]) as site:
        yield site


async def close_code(member: RawClient) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        await member.until(lambda _: False)
    return member.websocket.close_code


async def test_a_room_for_users_refuses_others_and_knows_who_calls(site: Site) -> None:
    async with raw_client(site) as stranger:
        with pytest.raises(Refused) as refusal:
            await stranger.join("users")
        assert refusal.value.code == "unauthorized"
    async with site.http() as client:
        await client.post("/log-in/ann")
        async with raw_client(site, cookie=cookie_of(client)) as member:
            await member.join("users")
            await member.call("users", "say", text="hello")
            state = await member.sees("users", lambda state: state["last"] != [])
            assert state["last"] == ["ann", "hello"]
            with pytest.raises(Refused, match="unknown"):
                await member.call("users", "say", text="hello", session="eve")


@pytest.mark.parametrize("path", ["/log-out", "/log-out-everywhere"])
async def test_who_logs_out_has_left_the_rooms_for_users(site: Site, path: str) -> None:
    async with site.http() as client, site.http() as elsewhere:
        for visitor in (client, elsewhere):
            await visitor.post("/log-in/ann")
        async with (
            raw_client(site, cookie=cookie_of(client)) as here,
            raw_client(site, cookie=cookie_of(elsewhere)) as there,
        ):
            await here.join("users")
            await there.join("users")
            await client.post(path)
            assert await close_code(here) == 4502
            if path == "/log-out":
                await there.call("users", "say", text="still here")
            else:
                assert await close_code(there) == 4502


async def test_a_login_changes_the_token_and_has_sockets_come_again(site: Site) -> None:
    async with site.http() as client:
        async with raw_client(site) as member:
            await member.join("my")
            await member.write("my", note="mine")
            name, _, token = member.cookie.partition("=")
            client.cookies.set(name, token, "127.0.0.1")
            await client.post("/log-in/ann")
            assert cookie_of(client) != member.cookie
            assert await close_code(member) == 4001
        async with raw_client(site, cookie=cookie_of(client)) as again:
            assert (await again.join("my"))["note"] == "mine"
            await again.join("users")
