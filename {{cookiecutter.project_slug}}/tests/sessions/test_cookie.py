"""Sessions over HTTP, on the chosen backend."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sanic import HTTPResponse, Request, Sanic
from sanic.response import json

import app as chosen
from server.errors import StoreUnavailable
from server.factory import create_app
from server.sessions.cookie import log_in, log_out, session_of
from server.settings import Settings
from tests.serving import serve

_numbers = itertools.count()


async def untouched(_: Request) -> HTTPResponse:
    return json({})


async def read(request: Request) -> HTTPResponse:
    return json(dict(await session_of(request)))


async def put(request: Request) -> HTTPResponse:
    session = await session_of(request)
    session.update(request.json)
    return json({})


async def append(request: Request) -> HTTPResponse:
    session = await session_of(request)
    session.setdefault("list", []).append(1)
    return json({})


async def slow_put(request: Request) -> HTTPResponse:
    session = await session_of(request)
    session.update(request.json)
    request.app.ctx.waiting.set()
    await request.app.ctx.go_on.wait()
    return json({})


async def login(request: Request) -> HTTPResponse:
    await log_in(request, {"user": "ann"})
    return json({})


async def logout(request: Request) -> HTTPResponse:
    await log_out(request)
    return json({})


async def fail(request: Request) -> HTTPResponse:
    session = await session_of(request)
    session["half"] = "done"
    raise RuntimeError("the handler failed")


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[tuple[Sanic, httpx.AsyncClient]]:
    app = create_app(f"cookie_{next(_numbers)}", chosen.BACKENDS, [], settings)
    app.ctx.waiting, app.ctx.go_on = asyncio.Event(), asyncio.Event()
    for handler in (untouched, read, put, append, slow_put, login, logout, fail):
        app.add_route(handler, f"/{handler.__name__}", methods=["GET", "POST"])
    async with serve(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        yield app, client


Served = tuple[Sanic, httpx.AsyncClient]


async def test_reading_an_empty_session_sets_no_cookie(served: Served) -> None:
    _, client = served
    response = await client.get("/read")
    assert response.json() == {}
    assert "set-cookie" not in response.headers


async def test_what_is_put_in_a_session_is_there_at_the_next_request(served: Served) -> None:
    _, client = served
    response = await client.post("/put", json={"a": 1})
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert (await client.get("/read")).json() == {"a": 1}


async def test_a_touched_session_is_not_cached(served: Served) -> None:
    _, client = served
    response = await client.get("/read")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["vary"] == "Cookie"
    assert "vary" not in (await client.get("/untouched")).headers


async def test_a_cookie_is_set_once(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    assert "set-cookie" not in (await client.post("/put", json={"a": 2})).headers


async def test_a_change_inside_a_value_is_saved(served: Served) -> None:
    _, client = served
    await client.get("/append")
    await client.get("/append")
    assert (await client.get("/read")).json() == {"list": [1, 1]}


async def test_behind_https_the_cookie_is_a_host_cookie(served: Served) -> None:
    _, client = served
    response = await client.post("/put", json={"a": 1}, headers={"Host": "example.org"})
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-session=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


async def test_cookies_of_other_names_are_not_taken(served: Served) -> None:
    _, client = served
    other = await client.post("/put", json={"a": "other"}, headers={"Host": "example.org"})
    token = other.cookies["__Host-session"]
    cookies = f"__Secure-__Host-session={token}; session={token}; __Host-__Host-session={token}"
    headers = {"Host": "example.org", "Cookie": cookies}
    assert (await client.get("/read", headers=headers)).json() == {}


@pytest.mark.parametrize("token", ["", "null", "x", "x" * 43, "x" * 4000, "a:b*{}", "%00"])
async def test_a_token_that_is_not_known_is_never_adopted(served: Served, token: str) -> None:
    _, client = served
    response = await client.post("/put", json={"a": 1}, headers={"Cookie": f"session={token}"})
    assert response.status_code == 200
    assert f"session={token};" not in response.headers["set-cookie"]


async def test_login_changes_the_token_and_keeps_the_session(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"cart": 1})
    old = client.cookies["session"]
    await client.post("/login")
    assert client.cookies["session"] != old
    assert (await client.get("/read")).json() == {"cart": 1, "user": "ann"}
    stolen = await client.get("/read", headers={"Cookie": f"session={old}"})
    assert stolen.json() == {}


async def test_logout_destroys_the_session_and_its_cookie(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    old = client.cookies["session"]
    response = await client.post("/logout")
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert (await client.get("/read", headers={"Cookie": f"session={old}"})).json() == {}


async def test_two_requests_that_change_different_keys_both_count(served: Served) -> None:
    app, client = served
    await client.post("/put", json={"a": 0, "b": 0})
    slow = asyncio.create_task(client.post("/slow_put", json={"a": 1}))
    await app.ctx.waiting.wait()
    await client.post("/put", json={"b": 2})
    app.ctx.go_on.set()
    await slow
    assert (await client.get("/read")).json() == {"a": 1, "b": 2}


async def test_a_late_save_does_not_bring_a_destroyed_session_back(served: Served) -> None:
    app, client = served
    await client.post("/put", json={"a": 0})
    token = client.cookies["session"]
    slow = asyncio.create_task(client.post("/slow_put", json={"a": 1}))
    await app.ctx.waiting.wait()
    await client.post("/logout")
    app.ctx.go_on.set()
    await slow
    assert (await client.get("/read", headers={"Cookie": f"session={token}"})).json() == {}


async def test_a_handler_that_fails_saves_nothing(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    assert (await client.get("/fail")).status_code == 500
    assert (await client.get("/read")).json() == {"a": 1}


async def test_a_session_that_is_too_large_is_an_error_and_the_old_one_stays(
    served: Served,
) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    response = await client.post("/put", json={"b": "x" * 70_000})
    assert response.status_code == 500
    assert (await client.get("/read")).json() == {"a": 1}


async def test_without_its_store_a_request_that_needs_it_is_503(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, client = served
    await client.post("/put", json={"a": 1})

    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(app.ctx.sessions, "load", away)
    response = await client.get("/read")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert (await client.get("/untouched")).status_code == 200
    monkeypatch.undo()
    monkeypatch.setattr(app.ctx.sessions, "save", away)
    assert (await client.post("/put", json={"a": 2})).status_code == 503
