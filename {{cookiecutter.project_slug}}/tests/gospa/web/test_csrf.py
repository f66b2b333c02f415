"""Which pages may do more than look, on a route and on the socket."""

import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from sanic import HTTPResponse, Request
from sanic.exceptions import Forbidden
from sanic.response import text

from gospa.settings import Settings
from gospa.testing import serve
from gospa.web.admission import RequestLimits
from gospa.web.application import Application
from gospa.web.csrf import check_origin

_numbers = itertools.count()


async def change(_: Request) -> HTTPResponse:
    return text("changed")


async def socket(request: Request) -> HTTPResponse:
    check_origin(request)
    return text("let in")


async def answer_early(request: Request) -> HTTPResponse | None:
    return text("answered early") if "early" in request.args else None


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = Application(f"origins_{next(_numbers)}")
    app.config.PROXIES_COUNT = 1
    app.ctx.settings = Settings(allowed_origins="https://friend.example , http://b.example:81")
    app.ctx.request_limits = RequestLimits(app.ctx.settings)
    app.add_route(change, "/change", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
    app.add_route(socket, "/socket")
    app.on_request(answer_early)
    async with serve(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        yield client


async def allowed(client: httpx.AsyncClient, headers: Mapping[str, str]) -> bool:
    """Whether a POST and a handshake are let in, which must be the same."""
    answers = [
        await client.post("/change", headers=headers),
        await client.get("/socket", headers=headers),
    ]
    (outcome,) = {answer.status_code for answer in answers}
    assert outcome in (200, 403)
    return outcome == 200


FOREIGN = [
    *("null", "", "http://", "http://[", "evil", "://x", "http://evil.example"),
    *("http://app.example.evil.example", "http://evilapp.example", "http://app.example:8080"),
    *("https://app.example", "http://app.example/", "http://app.example@evil.example"),
    *("http://evil.example@app.example", "http://app.example:80:80", "http://app.example:x"),
    *("http://app.example, http://evil.example", "file://", "http://app.example:99999"),
    *("https://friend.example:444", "http://friend.example", "https://friend.example.evil"),
]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_pages_of_other_origins_are_refused(client: httpx.AsyncClient, origin: str) -> None:
    assert not await allowed(client, {"Host": "app.example", "Origin": origin})


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("app.example", "http://app.example"),
        ("app.example", "http://app.example:80"),
        ("app.example:80", "http://app.example"),
        ("app.example:8000", "http://app.example:8000"),
        ("APP.example", "http://App.Example"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("app.example", "https://friend.example"),
        ("app.example", "https://friend.example:443"),
        ("app.example", "http://b.example:81"),
    ],
)
async def test_our_pages_and_those_of_friends_are_let_in(
    client: httpx.AsyncClient, host: str, origin: str
) -> None:
    assert await allowed(client, {"Host": host, "Origin": origin})


async def test_who_names_no_origin_is_no_browser(client: httpx.AsyncClient) -> None:
    assert await allowed(client, {"Host": "app.example"})


async def test_behind_a_proxy_scheme_host_and_port_are_those_it_tells(
    client: httpx.AsyncClient,
) -> None:
    told = {
        "Host": "10.0.0.1:8000",
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "app.example",
    }
    assert await allowed(client, {**told, "Origin": "https://app.example"})
    for origin in ("http://app.example", "https://10.0.0.1:8000", "http://10.0.0.1:8000"):
        assert not await allowed(client, {**told, "Origin": origin})


async def test_without_a_proxys_word_its_headers_are_ignored(client: httpx.AsyncClient) -> None:
    headers = {"Host": "app.example", "X-Forwarded-Host": "evil.example"}
    assert not await allowed(client, {**headers, "Origin": "http://evil.example"})


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://other.app.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://friend.example"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({}, 200),
    ],
)
async def test_unsafe_methods_are_for_our_pages(
    client: httpx.AsyncClient, method: str, headers: dict[str, str], status: int
) -> None:
    answer = await client.request(method, "/change", headers={"Host": "app.example", **headers})
    assert answer.status_code == status


async def test_what_is_refused_reaches_no_middleware(client: httpx.AsyncClient) -> None:
    assert (await client.post("/change?early=1")).text == "answered early"
    answer = await client.post("/change?early=1", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_safe_methods_are_for_all(client: httpx.AsyncClient, method: str) -> None:
    headers = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await client.request(method, "/change", headers=headers)).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "x"])
def test_without_friends_a_refusal_names_the_settings(origin: str) -> None:
    class Stranger:
        headers = {"origin": origin}
        scheme, server_name, server_port = "http", "app.example", 80
        app = type("App", (), {"ctx": type("Ctx", (), {"settings": Settings()})})

    request: Any = Stranger()
    with pytest.raises(Forbidden, match=r"GOSPA_ALLOWED_ORIGINS.*SANIC_PROXIES_COUNT"):
        check_origin(request)
