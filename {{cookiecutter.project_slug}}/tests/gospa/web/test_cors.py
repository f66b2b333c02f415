"""Which pages of other origins may read answers, and which routes take requests of all."""

import hashlib
import hmac
from collections.abc import AsyncIterator

import httpx
import pytest
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json, text

from gospa import csrf_exempt, session_of
from gospa.environment import load_settings
from gospa.settings import SettingsError
from gospa.testing import OpenApp, Site
from tests.gospa.rooms import ROOMS

FRIENDS = "https://friend.example,capacitor://localhost, app://obsidian.md,chrome-extension://abc"
SECRET = b"of the webhook"
FOREIGN = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}

blueprint = Blueprint("cors")


@blueprint.get("/read")
async def read(_: Request) -> HTTPResponse:
    return text("read")


@blueprint.post("/change")
async def change(_: Request) -> HTTPResponse:
    return text("changed")


@blueprint.post("/webhook")
@csrf_exempt
async def webhook(request: Request) -> HTTPResponse:
    expected = hmac.new(SECRET, request.body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("x-signature", "")):
        return text("wrong", 401)
    session = await session_of(request)
    session["by"] = "webhook"
    return json({"user": session.user})


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app(ROOMS, [blueprint], allowed_origins=FRIENDS) as site:
        yield site


ALLOWED = ["https://friend.example", "capacitor://localhost", "app://obsidian.md"]
OTHERS = [
    *("null", "https://evil.example", "https://friend.example.evil", "http://friend.example"),
    *("capacitor://localhost:1", "capacitor://evil", "app://localhost", "chrome-extension://abd"),
    *("ionic://localhost", "file://", "capacitor://", "https://friend.example/"),
]


@pytest.mark.parametrize("origin", ALLOWED)
@pytest.mark.parametrize(
    ("path", "status"), [("/read", 200), ("/nothing", 404), ("/gospa/gospa.js", 200), ("/ws", 426)]
)
async def test_allowed_origins_may_read_every_answer(
    http: httpx.AsyncClient, origin: str, path: str, status: int
) -> None:
    answer = await http.get(path, headers={"Origin": origin})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize("origin", OTHERS)
async def test_other_origins_may_not(http: httpx.AsyncClient, origin: str) -> None:
    for method, path in (("GET", "/read"), ("OPTIONS", "/change"), ("POST", "/change")):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = await http.request(method, path, headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "origin" in answer.headers["vary"].lower()
        assert answer.status_code == {"GET": 200, "OPTIONS": 204, "POST": 403}[method]


@pytest.mark.parametrize("origin", ALLOWED)
async def test_a_preflight_of_an_allowed_origin_is_answered(
    http: httpx.AsyncClient, origin: str
) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x"}
    answer = await http.options("/change", headers={"Origin": origin, **asked})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == origin
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "Authorization, Content-Type"
    assert (await http.post("/change", headers={"Origin": origin})).status_code == 200


async def test_without_allowed_origins_nothing_is_said_of_them(open_app: OpenApp) -> None:
    async with open_app(ROOMS, [blueprint]) as site, site.http() as http:
        answer = await http.get("/read", headers={"Origin": "https://friend.example"})
    assert "vary" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["file://a", "data://a", "javascript://a", "ftp://a", "ws://a", "capacitor://", "Ab://c"],
)
def test_what_is_no_apps_scheme_cannot_be_allowed(origin: str) -> None:
    with pytest.raises(SettingsError, match="GOSPA_ALLOWED_ORIGINS"):
        load_settings({"GOSPA_ALLOWED_ORIGINS": origin})


async def test_a_webhook_is_taken_from_any_origin_by_its_signature(http: httpx.AsyncClient) -> None:
    signature = hmac.new(SECRET, b"paid", hashlib.sha256).hexdigest()
    signed = {"X-Signature": signature, **FOREIGN}
    assert (await http.post("/webhook", content=b"paid", headers=signed)).status_code == 200
    assert (await http.post("/webhook", content=b"free", headers=signed)).status_code == 401
    assert (await http.post("/change", headers=signed)).status_code == 403  # its neighbour


async def test_a_route_for_all_origins_believes_no_cookie_and_sets_none(site: Site) -> None:
    signature = hmac.new(SECRET, b"", hashlib.sha256).hexdigest()
    async with site.http(user="ann") as http:
        answer = await http.post("/webhook", headers={"X-Signature": signature, **FOREIGN})
        assert answer.json() == {"user": None}
        assert "set-cookie" not in answer.headers
