"""The login example as browsers use it, on the chosen backends."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.conftest import OpenApp
from tests.gospa.member import Member, Refused
from views import VIEWS


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[str]:
    async with open_app(views=VIEWS) as (_, address):
        yield address


def browser(site: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://{site}", follow_redirects=True)


async def seen(client: httpx.AsyncClient) -> dict[str, Any]:
    answer: dict[str, Any] = (await client.get("/account/session")).json()
    return answer


def cookie(client: httpx.AsyncClient) -> str:
    return f"session={client.cookies['session']}"


async def test_a_visitor_logs_in_and_out(site: str) -> None:
    async with browser(site) as client:
        assert await seen(client) == {"user": None, "sessions": [], "told": []}
        page = await client.post("/account/log-in", data={"name": " ann "})
        assert page.headers["content-type"].startswith("text/html")
        shown = await seen(client)
        assert shown["user"] == "ann"
        assert [session["here"] for session in shown["sessions"]] == [True]
        assert shown["told"] == ["Welcome, ann."]
        assert (await seen(client))["told"] == []
        await client.post("/account/log-out")
        assert await seen(client) == {"user": None, "sessions": [], "told": ["You are logged out."]}


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "a\nb", "a\0b", "\u202eann"])
async def test_a_name_that_cannot_be_is_refused(site: str, name: str) -> None:
    async with browser(site) as client:
        await client.post("/account/log-in", data={"name": name})
        shown = await seen(client)
        assert shown["user"] is None
        assert "characters" in shown["told"][0]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"name", b"{}", b"name[]=x"])
async def test_a_form_that_is_none_is_refused(site: str, body: bytes) -> None:
    async with browser(site) as client:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await client.post("/account/log-in", content=body, headers=headers)
        assert answer.status_code == 200
        assert (await seen(client))["user"] is None


async def test_a_page_of_another_site_logs_nobody_in_or_out(site: str) -> None:
    async with browser(site) as client:
        await client.post("/account/log-in", data={"name": "ann"})
        foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
        for path in ("log-in", "log-out", "log-out-everywhere"):
            answer = await client.post(f"/account/{path}", data={"name": "eve"}, headers=foreign)
            assert answer.status_code == 403
        assert (await seen(client))["user"] == "ann"


async def test_the_lounge_is_for_users_and_knows_who_speaks(site: str) -> None:
    async with Member.connect(site) as stranger:
        with pytest.raises(Refused) as refusal:
            await stranger.join("lounge")
        assert refusal.value.code == "unauthorized"
    async with browser(site) as client:
        await client.post("/account/log-in", data={"name": "ann"})
        async with Member.connect(site, cookie=cookie(client)) as member:
            await member.join("lounge")
            await member.call("lounge", "say", text="hello")
            state = await member.sees("lounge", lambda s: bool(s["said"]))
            assert state["said"] == [{"by": "ann", "text": "hello"}]
            with pytest.raises(Refused, match="unknown"):
                await member.call("lounge", "say", text="hello", session="eve")


@pytest.mark.parametrize("path", ["log-out", "log-out-everywhere"])
async def test_who_logs_out_is_no_longer_in_the_lounge(site: str, path: str) -> None:
    async with browser(site) as client, browser(site) as elsewhere:
        for visitor in (client, elsewhere):
            await visitor.post("/account/log-in", data={"name": "ann"})
        assert len((await seen(client))["sessions"]) == 2
        async with (
            Member.connect(site, cookie=cookie(client)) as here,
            Member.connect(site, cookie=cookie(elsewhere)) as there,
        ):
            await here.join("lounge")
            await there.join("lounge")
            await client.post(f"/account/{path}")
            with contextlib.suppress(ConnectionClosed):
                await here.until(lambda _: False)
            assert here.websocket.close_code == 4502
            if path == "log-out":
                await there.call("lounge", "say", text="still here")
                assert (await seen(elsewhere))["user"] == "ann"
            else:
                with contextlib.suppress(ConnectionClosed):
                    await there.until(lambda _: False)
                assert there.websocket.close_code == 4502
                assert (await seen(elsewhere))["user"] is None


async def test_a_login_changes_the_token_and_has_sockets_come_again(site: str) -> None:
    async with browser(site) as client:
        async with Member.connect(site) as member:
            await member.join("me")
            await member.write("me", note="mine")
            client.cookies.set("session", member.cookie.removeprefix("session="), "127.0.0.1")
            await client.post("/account/log-in", data={"name": "ann"})
            assert cookie(client) != member.cookie
            with contextlib.suppress(ConnectionClosed):
                await member.until(lambda _: False)
            assert member.websocket.close_code == 4001
        async with Member.connect(site, cookie=cookie(client)) as again:
            assert (await again.join("me"))["note"] == "mine"
            await again.join("lounge")
