"""Sessions over HTTP, on the chosen backend."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sanic import HTTPResponse, Request, Sanic
from sanic.response import ResponseStream, json, redirect

import app as chosen
from gospa.app import create_app
from gospa.errors import StoreUnavailable
from gospa.sessions.cookie import log_in, log_out, log_out_everywhere, renew_token, session_of
from gospa.sessions.record import SessionRecord
from gospa.settings import Settings
from gospa.testing import OpenApp, logged_in, serve
from tests.gospa.views import blueprint

NAME = "tests_session"
PREFIXED = f"__Host-{NAME}"


async def untouched(_: Request) -> HTTPResponse:
    return json({})


async def read(request: Request) -> HTTPResponse:
    return json(dict(await session_of(request)))


async def put(request: Request) -> HTTPResponse:
    session = await session_of(request)
    session.update(request.json)
    return json({})


async def put_side_by_side(request: Request) -> HTTPResponse:
    async def put_one(key: str) -> None:
        (await session_of(request))[key] = 1

    await asyncio.gather(put_one("a"), put_one("b"))
    return json({})


async def append(request: Request) -> HTTPResponse:
    session = await session_of(request)
    session.setdefault("list", []).append(1)
    return json({})


async def slow_put(request: Request) -> HTTPResponse:
    session = await session_of(request)
    session.update(request.json)
    request.app.ctx.waiting.set()
    try:
        await request.app.ctx.go_on.wait()
    finally:
        request.app.ctx.left.set()
    return json({})


async def login(request: Request) -> HTTPResponse:
    await log_in(request, "ann", {"theme": "dark"})
    return json({})


async def login_as(request: Request) -> HTTPResponse:
    await log_in(request, request.args["user"][0])
    return redirect("/read")


async def renew(request: Request) -> HTTPResponse:
    await renew_token(request)
    return json({})


async def slow_login(request: Request) -> HTTPResponse:
    await log_in(request, "ann")
    request.app.ctx.waiting.set()
    await request.app.ctx.go_on.wait()
    return json({})


async def login_fails(request: Request) -> HTTPResponse:
    await log_in(request, "ann")
    raise RuntimeError("the handler failed")


async def change_user(request: Request) -> HTTPResponse:
    await log_out(request)
    await log_in(request, "bob")
    return json({})


async def login_and_out(request: Request) -> HTTPResponse:
    await log_in(request, "ann")
    await log_out(request)
    return json({})


async def logout_fails(request: Request) -> HTTPResponse:
    await log_out(request)
    raise RuntimeError("the handler failed")


async def logout_everywhere(request: Request) -> HTTPResponse:
    await log_out_everywhere(request)
    return json({})


async def whoami(request: Request) -> HTTPResponse:
    return json({"user": (await session_of(request)).user})


async def stream(request: Request) -> None:
    session = await session_of(request)
    session["streamed"] = 1
    response = await request.respond(content_type="text/plain")
    assert response is not None
    await response.send("some")
    await response.send(" text")
    await response.eof()


async def late_stream(request: Request) -> Any:
    (await session_of(request))["streamed"] = 1

    async def write(response: Any) -> None:
        await response.write("late")

    return ResponseStream(write)


async def unserializable(request: Request) -> HTTPResponse:
    session = await session_of(request)
    session["set"] = {1}
    return json({})


async def flash(request: Request) -> HTTPResponse:
    (await session_of(request)).flash("saved")
    return json({})


async def take_flashes(request: Request) -> HTTPResponse:
    return json((await session_of(request)).take_flashes())


async def logout(request: Request) -> HTTPResponse:
    await log_out(request)
    return json({})


async def fail(request: Request) -> HTTPResponse:
    session = await session_of(request)
    session["half"] = "done"
    raise RuntimeError("the handler failed")


HANDLERS: tuple[Any, ...] = (
    *(untouched, read, put, append, slow_put, login, logout, fail, login_as, renew, slow_login),
    *(login_fails, change_user, login_and_out, logout_fails, logout_everywhere, whoami, stream),
    *(late_stream, unserializable, flash, take_flashes, put_side_by_side),
)


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[tuple[Sanic, httpx.AsyncClient]]:
    app = create_app("tests", chosen.BACKENDS, [], settings)
    app.ctx.waiting, app.ctx.go_on, app.ctx.left = (asyncio.Event() for _ in range(3))
    for handler in HANDLERS:
        app.add_route(handler, f"/{handler.__name__}", methods=["GET", "POST"])
    async with serve(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        yield app, client


Served = tuple[Sanic, httpx.AsyncClient]


async def answer_to(client: httpx.AsyncClient, header: bytes) -> bytes:
    """The answer to a request with a header that httpx would refuse to send."""
    host, port = client.base_url.host, client.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    head = f"GET /read HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n".encode()
    writer.write(head + header + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def test_reading_an_empty_session_sets_no_cookie_and_asks_no_store(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, client = served
    monkeypatch.setattr(app.ctx.sessions, "_storage", None)
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


async def test_tasks_of_one_request_share_its_session(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"before": 1})
    await client.post("/put_side_by_side")
    assert (await client.get("/read")).json() == {"before": 1, "a": 1, "b": 1}


async def test_a_touched_session_is_not_cached(served: Served) -> None:
    _, client = served
    response = await client.get("/read")
    assert response.headers["cache-control"] == "no-store"
    assert "cache-control" not in (await client.get("/untouched")).headers


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
    assert cookie.startswith(f"{PREFIXED}=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


# Blanks of Unicode, which Sanic removes, and what it also takes for the name.
LOOK_ALIKES = {
    "U+2000": "\u2000{}",
    "U+00A0": "\u00a0{}",
    "U+0085": "\x85{}",
    "U+3000": "\u3000{}",
    "U+001C": "\x1c{}",
    "at the end": "{}\u2003",
    "another case": "__host-tests_session",
    "without the prefix": "tests_session",
    "another prefix": "__Secure-{}",
    "twice the prefix": "__Host-{}",
    "quoted": '"{}"',
    "percent": "%5F_Host-tests_session",
    "begins with it": "{}x",
    "of another application": "__Host-other_session",
}


@pytest.mark.parametrize("form", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
@pytest.mark.parametrize("order", ["alone", "before", "after"])
async def test_only_the_exact_name_is_the_cookies(served: Served, form: str, order: str) -> None:
    _, client = served
    host = {"Host": "example.org"}
    tokens = {}
    for who in ("attacker", "victim"):
        answer = await client.post("/put", json={"of": who}, headers=host)
        tokens[who] = answer.cookies[PREFIXED]
        client.cookies.clear()
    planted = f"{form.format(PREFIXED)}={tokens['attacker']}"
    own = f"{PREFIXED}={tokens['victim']}"
    sent = {"alone": planted, "before": f"{planted}; {own}", "after": f"{own}; {planted}"}[order]
    headers = {b"Host": b"example.org", b"Cookie": sent.encode()}
    seen = {} if order == "alone" else {"of": "victim"}
    assert (await client.get("/read", headers=headers)).json() == seen


async def test_a_header_whose_name_only_looks_like_cookie_is_none(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    sent = client.cookies.pop(NAME) or ""
    pair = f"{NAME}={sent}".encode()
    assert b'{"a":1}' in await answer_to(client, b"COOKIE:" + pair)
    for name in ("Coo\u212aie", "Cookie\u00a0", "X-Cookie"):  # U+212A is a K; its lower case is k
        assert b'{"a":1}' not in await answer_to(client, name.encode() + b": " + pair)


TOKENS = {
    "empty": "",
    "null": "null",
    "short": "x",
    "of the old form": "x" * 43,
    "unknown": "0" * 32 + "x" * 43,
    "long": "x" * 7000,
    "punctuation": "a:b*{}",
    "percent": "%00",
    "not ASCII": "\u00e9" * 75,
    "quoted": '"' + "0" * 32 + "x" * 43 + '"',
    "spaces": "0" * 32 + " " + "x" * 42,
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
async def test_a_token_that_is_not_known_is_never_adopted(served: Served, token: str) -> None:
    _, client = served
    headers = {b"Cookie": f"{NAME}={token}".encode()}
    response = await client.post("/put", json={"a": 1}, headers=headers)
    assert response.status_code == 200
    assert f"{NAME}={token};" not in response.headers["set-cookie"]


async def test_a_cookie_of_8_kib_is_refused(served: Served) -> None:
    _, client = served
    answer = await client.post("/put", headers={"Cookie": f"{NAME}={'x' * 8192}"})
    assert answer.status_code in {413, 431}


@pytest.mark.parametrize(
    "raw", [b"tests_session=\0", b"tests_session=a\rb", b"tests_session=a\n b", b"\xff=\xff", b"="]
)
async def test_control_characters_in_a_cookie_do_not_reach_the_store(
    served: Served, raw: bytes
) -> None:
    _, client = served
    answer = await answer_to(client, b"Cookie: " + raw)
    assert answer.split()[1] in {b"200", b"400"}
    assert b"set-cookie" not in answer.lower()


async def test_login_changes_the_token_and_keeps_the_session(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"cart": 1})
    old = client.cookies[NAME]
    await client.post("/login")
    assert client.cookies[NAME] != old
    assert (await client.get("/read")).json() == {"cart": 1, "theme": "dark"}
    assert client.cookies[NAME][:32] == old[:32]


async def test_logout_destroys_the_session_and_its_cookie(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    old = client.cookies[NAME]
    response = await client.post("/logout")
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert (await client.get("/read", headers={"Cookie": f"{NAME}={old}"})).json() == {}


async def test_two_requests_that_change_different_keys_both_count(served: Served) -> None:
    app, client = served
    await client.post("/put", json={"a": 0, "b": 0})
    slow = asyncio.create_task(client.post("/slow_put", json={"a": 1}))
    await app.ctx.waiting.wait()
    await client.post("/put", json={"b": 2})
    app.ctx.go_on.set()
    await slow
    assert (await client.get("/read")).json() == {"a": 1, "b": 2}


async def test_of_two_requests_that_change_one_key_the_last_counts(served: Served) -> None:
    app, client = served
    await client.post("/put", json={"a": 0})
    slow = asyncio.create_task(client.post("/slow_put", json={"a": 1}))
    await app.ctx.waiting.wait()
    await client.post("/put", json={"a": 2})
    app.ctx.go_on.set()
    await slow
    assert (await client.get("/read")).json() == {"a": 1}


async def test_a_handler_that_does_not_ask_costs_no_store_call(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, client = served
    await client.post("/put", json={"a": 1})
    monkeypatch.setattr(app.ctx.sessions, "_storage", None)
    assert (await client.get("/untouched")).status_code == 200


async def test_a_late_save_does_not_bring_a_destroyed_session_back(served: Served) -> None:
    app, client = served
    await client.post("/put", json={"a": 0})
    token = client.cookies[NAME]
    slow = asyncio.create_task(client.post("/slow_put", json={"a": 1}))
    await app.ctx.waiting.wait()
    await client.post("/logout")
    app.ctx.go_on.set()
    await slow
    assert (await client.get("/read", headers={"Cookie": f"{NAME}={token}"})).json() == {}


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


async def test_a_cookie_lives_as_long_as_a_session_may(served: Served) -> None:
    _, client = served
    cookie = (await client.post("/put", json={"a": 1})).headers["set-cookie"]
    assert "Max-Age=7776000" in cookie


async def test_of_several_cookies_of_the_name_none_is_believed(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    token = client.cookies.pop(NAME) or ""
    known, unknown, empty = f"{NAME}={token}", f"{NAME}={token[:-1]}", f"{NAME}="
    for others in (known, unknown, empty):
        for sent in (f"{known}; {others}", f"{others};{known}", f"{others}; a=b;\t{known}"):
            assert (await client.get("/read", headers={"Cookie": sent})).json() == {}
    lines = [("Cookie", known), ("Cookie", known)]
    assert (await client.get("/read", headers=lines)).json() == {}
    assert (await client.get("/read", headers={"Cookie": f"a=b; {known}; c"})).json() == {"a": 1}


async def test_who_sends_several_is_rid_of_them_and_can_log_in(served: Served) -> None:
    _, client = served
    path = "/whoami/of/a/page"
    headers = {"Host": "app.example.test", "Cookie": f"{PREFIXED}=a; {PREFIXED}=b"}
    answer = await client.get("/read", headers=headers)
    deleted = answer.headers.get_list("set-cookie")
    for where in ("", "; Domain=example.test", "; Domain=app.example.test"):
        for path in ("/", "/read"):
            (found,) = [each for each in deleted if f"=; Path={path}; Max-Age=0{where}; H" in each]
            assert found.startswith(f"{PREFIXED}=;")
    assert not [each for each in deleted if "Domain=test" in each]
    answer = await client.post("/login", headers=headers)
    assert PREFIXED in answer.cookies
    assert "Max-Age=0" not in answer.headers.get_list("set-cookie")[-1]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "a;b=c"])
async def test_no_cookie_is_deleted_for_what_is_no_domain(served: Served, host: str) -> None:
    _, client = served
    for name in (NAME, PREFIXED):
        headers = {"Host": host, "Cookie": f"{name}=a; {name}=b"}
        answer = await client.get("/read", headers=headers)
        assert "domain" not in str(answer.headers.get_list("set-cookie")).lower()


async def test_several_cookies_are_logged_once(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = served
    monkeypatch.setattr(logging.getLogger("sanic.root"), "propagate", True)
    for _ in range(3):
        await client.get("/read", headers={"Cookie": f"{NAME}=a; {NAME}=secret"})
    (told,) = [each for each in caplog.records if "several cookies" in each.getMessage()]
    assert told.levelname == "WARNING"
    assert "secret" not in told.getMessage()


async def test_a_token_elsewhere_than_in_the_cookie_is_ignored(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    token = client.cookies[NAME]
    client.cookies.clear()
    headers = {"Authorization": f"Bearer {token}", "session": token, "X-Session": token}
    answer = await client.get("/read", params={"session": token}, headers=headers)
    assert answer.json() == {}


async def test_forwarded_headers_of_an_unknown_proxy_are_ignored(served: Served) -> None:
    _, client = served
    headers = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "example.org",
        "Forwarded": "for=1.2.3.4;proto=https;host=example.org",
    }
    cookie = (await client.post("/put", json={"a": 1}, headers=headers)).headers["set-cookie"]
    assert cookie.startswith(f"{NAME}=")


async def test_over_plain_http_other_names_have_a_plain_cookie_only_by_the_setting(
    open_app: OpenApp,
) -> None:
    for insecure in (False, True):
        async with (
            open_app([], [blueprint], insecure_cookies=insecure) as site,
            site.http() as http,
        ):
            answer = await http.post("/log-in/ann", headers={"Host": "192.168.0.2:8000"})
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-") is not insecure
            assert ("Secure" in cookie) is not insecure
            assert "HttpOnly" in cookie


async def test_the_headers_of_a_known_proxy_are_followed(served: Served) -> None:
    app, client = served
    app.config.PROXIES_COUNT = 1
    headers = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https"}
    cookie = (await client.post("/put", json={"a": 1}, headers=headers)).headers["set-cookie"]
    assert cookie.startswith(f"{PREFIXED}=")


@pytest.mark.parametrize("host", ["127.0.0.1", "example.org"])
async def test_the_cookie_is_deleted_with_the_attributes_it_was_set_with(
    served: Served, host: str
) -> None:
    _, client = served
    headers = {"Host": host}
    given = (await client.post("/put", json={"a": 1}, headers=headers)).headers["set-cookie"]
    pair = given.partition(";")[0]
    answer = await client.post("/logout", headers={**headers, "Cookie": pair})

    def attributes(cookie: str) -> set[str]:
        name, _, rest = cookie.partition("=")
        return {
            name,
            *(a for a in rest.split("; ")[1:] if not a.startswith(("Max-Age", "expires"))),
        }

    assert attributes(answer.headers["set-cookie"]) == attributes(given)


async def test_a_login_whose_handler_fails_leaves_all_as_it_was(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    answer = await client.post("/login_fails")
    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers
    assert (await client.get("/read")).json() == {"a": 1}
    assert (await client.get("/whoami")).json() == {"user": None}


async def test_a_logout_whose_handler_fails_is_one_all_the_same(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    answer = await client.post("/logout_fails")
    assert answer.status_code == 500
    assert "Max-Age=0" in answer.headers["set-cookie"]


async def test_logging_out_and_in_in_one_request_begins_a_new_session(served: Served) -> None:
    _, client = served
    await client.post("/login")
    old = client.cookies[NAME]
    answer = await client.post("/change_user")
    assert len(answer.headers.get_list("set-cookie")) == 1
    assert client.cookies[NAME][:32] != old[:32]
    assert (await client.get("/whoami")).json() == {"user": "bob"}
    assert (await client.get("/read")).json() == {}
    assert (await client.get("/whoami", headers={"Cookie": f"{NAME}={old}"})).json() == {
        "user": None
    }


async def test_logging_in_and_out_in_one_request_is_no_login(served: Served) -> None:
    _, client = served
    await client.post("/login_and_out")
    assert (await client.get("/whoami")).json() == {"user": None}


async def test_another_user_does_not_get_the_session_of_the_one_before(served: Served) -> None:
    _, client = served
    await client.post("/login")
    old = client.cookies[NAME]
    await client.post("/login_as", params={"user": "bob"})
    assert (await client.get("/read")).json() == {}
    assert client.cookies[NAME][:32] != old[:32]


async def test_logging_in_again_keeps_what_the_user_has(served: Served) -> None:
    _, client = served
    await client.post("/login")
    await client.post("/login")
    assert (await client.get("/read")).json() == {"theme": "dark"}


async def test_a_renewed_token_replaces_the_old_one(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    old = client.cookies[NAME]
    await client.post("/renew")
    assert client.cookies[NAME] != old
    assert (await client.get("/read")).json() == {"a": 1}


async def test_a_request_with_the_token_before_gets_no_cookie_and_is_kept(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    old = {"Cookie": f"{NAME}={client.cookies[NAME]}"}
    await client.post("/renew")
    for path in ("/put", "/renew"):
        answer = await client.post(path, json={"b": 2}, headers=old)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
    assert (await client.get("/read")).json() == {"a": 1, "b": 2}


async def test_the_token_from_before_a_login_opens_nothing(served: Served) -> None:
    app, client = served
    await client.post("/put", json={"a": 1})
    old = {"Cookie": f"{NAME}={client.cookies[NAME]}"}
    await client.post("/login")
    assert (await client.get("/whoami", headers=old)).json() == {"user": None}
    assert (await client.get("/read", headers=old)).json() == {}
    own = {"Cookie": f"{NAME}={client.cookies[NAME]}"}
    await client.post("/logout_everywhere", headers=old)
    assert (await client.get("/whoami", headers=own)).json() == {"user": "ann"}
    assert len(await app.ctx.sessions.sessions_of("ann")) == 1


@pytest.mark.parametrize("path", ["/put", "/flash", "/renew", "/read"])
async def test_a_request_under_way_at_a_login_does_not_replace_the_new_cookie(
    served: Served, path: str
) -> None:
    app, client = served
    await client.post("/put", json={"a": 1})
    old = {"Cookie": f"{NAME}={client.cookies[NAME]}"}
    await client.post("/login")
    answer = await client.post(path, json={"b": 2}, headers=old)
    assert "set-cookie" not in answer.headers
    assert answer.status_code == (409 if path in ("/put", "/flash") else 200)
    assert (await client.get("/read")).json() == {"a": 1, "theme": "dark"}
    assert len(await app.ctx.sessions.everybody()) == 1


async def test_who_logs_in_twice_at_once_is_logged_in(served: Served) -> None:
    _, client = served
    await client.post("/put", json={"a": 1})
    old = {"Cookie": f"{NAME}={client.cookies[NAME]}"}
    for _ in range(2):
        answer = await client.post("/login_as?user=ann", headers=old)
        assert answer.status_code == 302
        assert answer.headers["set-cookie"].startswith(f"{NAME}=")
    assert (await client.get("/whoami")).json() == {"user": "ann"}


@pytest.mark.parametrize("overtaking", ["/login_as?user=bob", "/login", "/logout"])
async def test_a_login_that_was_overtaken_is_one_all_the_same(
    served: Served, overtaking: str
) -> None:
    app, client = served
    await client.post("/put", json={"a": 1})
    old = {"Cookie": f"{NAME}={client.cookies[NAME]}"}
    slow = asyncio.create_task(client.post("/slow_login", headers=old))
    await app.ctx.waiting.wait()
    await client.post(overtaking, headers=old)
    app.ctx.go_on.set()
    assert (await slow).status_code == 200
    assert (await client.get("/whoami")).json() == {"user": "ann"}


async def test_a_login_during_a_logout_everywhere_is_refused(served: Served) -> None:
    app, client = served
    save = app.ctx.sessions.save

    async def end_before(record: SessionRecord) -> bool:
        await app.ctx.sessions.log_out_everywhere("ann")
        saved: bool = await save(record)
        return saved

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.ctx.sessions, "save", end_before)
        answer = await client.post("/login")
    assert answer.status_code == 409
    assert "set-cookie" not in answer.headers
    assert (await client.get("/whoami")).json() == {"user": None}


async def test_logging_out_everywhere_reaches_other_browsers_of_the_user_alone(
    served: Served,
) -> None:
    app, client = served
    others = {user: {"Cookie": await logged_in(app, user)} for user in ("ann", "bob")}
    await client.post("/login")
    answer = await client.post("/logout_everywhere")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    seen = {
        user: (await client.get("/whoami", headers=headers)).json()["user"]
        for user, headers in others.items()
    }
    assert seen == {"ann": None, "bob": "bob"}


async def test_what_is_put_in_before_a_stream_begins_is_saved(served: Served) -> None:
    _, client = served
    answer = await client.get("/stream")
    assert answer.text == "some text"
    assert f"{NAME}=" in answer.headers["set-cookie"]
    assert (await client.get("/read")).json() == {"streamed": 1}


async def test_a_stream_that_begins_after_its_handler_sets_one_cookie(served: Served) -> None:
    _, client = served
    answer = await client.get("/late_stream")
    assert answer.text == "late"
    assert len(answer.headers.get_list("set-cookie")) == 1
    assert (await client.get("/read")).json() == {"streamed": 1}


async def test_a_client_that_goes_away_leaves_its_session_as_it_was(served: Served) -> None:
    app, client = served
    await client.post("/put", json={"a": 0})
    slow = asyncio.create_task(client.post("/slow_put", json={"a": 1}))
    await app.ctx.waiting.wait()
    slow.cancel()
    await app.ctx.left.wait()
    assert (await client.get("/read")).json() == {"a": 0}


async def test_what_cannot_be_stored_is_an_error_without_a_cookie(served: Served) -> None:
    _, client = served
    answer = await client.post("/unserializable")
    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers


async def test_flash_messages_are_shown_once(served: Served) -> None:
    _, client = served
    await client.post("/flash")
    assert (await client.get("/take_flashes")).json() == ["saved"]
    assert (await client.get("/take_flashes")).json() == []


@pytest.mark.parametrize("path", ["/login_as?user=ann", "/put", "/stream"])
async def test_where_saving_fails_no_answer_says_that_it_went_well(
    served: Served, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    app, client = served

    async def broken(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(app.ctx.sessions, "save", broken)
    answer = await client.post(path, json={"a": 1})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "set-cookie" not in answer.headers
    assert "location" not in answer.headers
    assert "content-security-policy" in answer.headers


async def test_no_token_is_in_the_log(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = served
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("sanic.root"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("sanic.error"), "propagate", True)
    tokens = []
    for path in ("/put", "/login", "/fail", "/unserializable", "/renew", "/logout"):
        await client.post(path, json={"a": 1})
        tokens += [value[32:] for value in client.cookies.values()]
    assert len(set(tokens)) >= 3
    ours = "\n".join(
        f"{record.getMessage()} {record.exc_text}"
        for record in caplog.records
        if not record.name.startswith("http")
    )
    assert "the handler failed" in ours
    assert "a session was not saved" in ours
    assert not [token for token in tokens if token in ours]
