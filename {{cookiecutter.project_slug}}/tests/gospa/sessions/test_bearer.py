"""Session tokens in the Authorization header: off by default, and no ambient authority."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json, text

from gospa.client import Closed
from gospa.sessions.cookie import issue_token, log_in, log_out, renew_token, session_of
from gospa.testing import OpenApp, Site, logged_in, until
from tests.gospa.rooms import ROOMS
from tests.gospa.wire import refusal_of

FOREIGN = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}

blueprint = Blueprint("bearer")


@blueprint.post("/token/<user>")
async def token(request: Request, user: str) -> HTTPResponse:
    return text(await issue_token(request, user, {"device": "phone"}))


@blueprint.get("/who")
async def who(request: Request) -> HTTPResponse:
    session = await session_of(request)
    return json({"user": session.user, **session})


@blueprint.post("/put")
async def put(request: Request) -> HTTPResponse:
    (await session_of(request)).update(request.json)
    return text("ok")


@blueprint.post("/renew")
async def renew(request: Request) -> HTTPResponse:
    await renew_token(request)
    return text("ok")


@blueprint.post("/log-in")
async def enter(request: Request) -> HTTPResponse:
    await log_in(request, "eve")
    return text("ok")


@blueprint.post("/log-out")
async def leave(request: Request) -> HTTPResponse:
    await log_out(request)
    (await session_of(request)).flash("You are logged out.")
    return text("ok")


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app(ROOMS, [blueprint]) as site:
        site.app.ctx.bearer_tokens = True
        yield site


async def bearer(http: httpx.AsyncClient, user: str = "ann") -> dict[str, str]:
    return {"Authorization": f"Bearer {(await http.post(f'/token/{user}')).text}"}


async def test_a_token_is_a_session_without_a_cookie(http: httpx.AsyncClient) -> None:
    headers = await bearer(http)
    assert "set-cookie" not in (await http.post("/put", json={"a": 1}, headers=headers)).headers
    answer = await http.get("/who", headers=headers)
    assert answer.json() == {"user": "ann", "device": "phone", "a": 1}
    assert "set-cookie" not in answer.headers
    assert (await http.get("/who")).json() == {"user": None}


async def test_unless_the_application_takes_tokens_they_are_ignored(site: Site) -> None:
    async with site.http() as http:
        headers = await bearer(http)
        site.app.ctx.bearer_tokens = False
        assert (await http.get("/who", headers=headers)).json() == {"user": None}
        answer = await http.post("/put", json={}, headers={**headers, **FOREIGN})
        assert answer.status_code == 403
        assert (await http.post("/token/ann")).status_code == 500


UNKNOWN = {
    "unknown": "Bearer " + "0" * 32 + "x" * 43,
    "only the scheme": "bearer",
    "not a token": "Bearer a b",
    "not ASCII": "Bearer \xe9",
}


@pytest.mark.parametrize("value", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_token_that_opens_nothing_is_refused_and_begins_no_session(
    site: Site, value: str
) -> None:
    headers = {b"Authorization": value.encode("latin-1")}
    async with site.http() as http:
        answer = await http.post("/put", json={"a": 1}, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert await site.app.ctx.sessions.everybody() == {}


async def test_of_two_tokens_none_is_believed(http: httpx.AsyncClient) -> None:
    (value,) = (await bearer(http)).values()
    answer = await http.get("/who", headers=[("Authorization", value), ("Authorization", value)])
    assert answer.status_code == 401


async def test_a_token_is_taken_from_other_origins_and_its_cookies_are_not(site: Site) -> None:
    async with site.http() as http:
        headers = {**await bearer(http), **FOREIGN, "Cookie": await site.log_in("bob")}
        assert (await http.post("/put", json={"b": 1}, headers=headers)).status_code == 200
        assert (await http.get("/who", headers=headers)).json()["user"] == "ann"
        headers["Authorization"] = UNKNOWN["unknown"]
        assert (await http.post("/put", json={"b": 1}, headers=headers)).status_code == 401
        headers["Authorization"] = "Basic YTpi"
        assert (await http.post("/put", json={"b": 1}, headers=headers)).status_code == 403


async def test_a_program_keeps_its_token_until_it_logs_out(site: Site) -> None:
    async with site.http() as http:
        headers = await bearer(http)
        assert (await http.post("/renew", headers=headers)).status_code == 200
        assert (await http.post("/log-in", headers=headers)).status_code == 400
        assert (await http.get("/who", headers=headers)).json()["user"] == "ann"
        answer = await http.post("/log-out", headers=headers)
        assert not await site.app.ctx.sessions.everybody()  # nobody could use another one
        assert "set-cookie" not in answer.headers
        assert (await http.get("/who", headers=headers)).status_code == 401


async def test_a_token_opens_a_socket_from_anywhere(site: Site) -> None:
    async with site.http() as http:
        headers = await bearer(http)
        value = headers["Authorization"].removeprefix("Bearer ")
        async with site.connect(token=value, headers=FOREIGN) as ann:
            assert ann.session is not None
            assert ann.session["user"] == "ann"
            assert ann.cookie == ""
            await ann.join("users")
            await http.post("/log-out", headers=headers)
            await until(lambda: ann.status == "closed")
    with pytest.raises(Closed, match="opens no session"):
        async with site.connect(token=value):
            pass


async def test_a_socket_without_a_right_token_is_refused_before_anything_is_stored(
    site: Site,
) -> None:
    answer = await refusal_of(site.address, Authorization=UNKNOWN["unknown"])
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert await site.app.ctx.sessions.everybody() == {}


async def test_a_users_tokens_end_with_all_sessions_and_others_stay(site: Site) -> None:
    async with site.http() as http:
        ann, bob = await bearer(http, "ann"), await bearer(http, "bob")
        cookie = await logged_in(site.app, "ann")
        await site.app.ctx.sessions.log_out_everywhere("ann")
        answers = await asyncio.gather(
            *(http.get("/who", headers=each) for each in (ann, bob, {"Cookie": cookie}))
        )
    assert [answer.status_code for answer in answers] == [401, 200, 200]
    assert answers[2].json() == {"user": None}
