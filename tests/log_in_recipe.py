"""Checks of the log-ins of docs/log-in.md, which `test_log_in_recipe.py` runs in a project."""

import base64
import hashlib
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from gospa.testing import OpenApp, Site, serve
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from sanic import HTTPResponse, Request, Sanic
from sanic.response import json
from views import passwords, sso

RIGHT = {"user": "ann", "password": "correct horse battery"}
KEY = RSAKey.generate_key(2048, {"kid": "1"})
_numbers = itertools.count()


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([], [passwords.blueprint, sso.blueprint]) as site:
        yield site


async def who(site: Site, http: httpx.AsyncClient) -> str | None:
    token = next(iter(http.cookies.values()), "")
    record = await site.app.ctx.sessions.load(token) if token else None
    return record.session.user if record else None


async def test_who_signed_up_logs_in_with_the_password_alone(
    site: Site, http: httpx.AsyncClient
) -> None:
    assert (await http.post("/user/sign-up", data=RIGHT)).status_code == 204
    assert await who(site, http) == "ann"
    await http.post("/user/log-out")
    for wrong in (
        {"password": "x" * 20},
        {"user": "bob"},
        {"user": "bob", "password": "no one's password"},
    ):
        assert (await http.post("/user/log-in", data={**RIGHT, **wrong})).status_code == 403
    assert await who(site, http) is None
    assert (await http.post("/user/log-in", data=RIGHT)).status_code == 204
    assert await who(site, http) == "ann"


async def test_a_name_is_given_once_and_the_store_has_no_password(
    site: Site, http: httpx.AsyncClient
) -> None:
    await http.post("/user/sign-up", data=RIGHT)
    other = {**RIGHT, "password": "another password"}
    assert (await http.post("/user/sign-up", data=other)).status_code == 409
    stored = await site.app.ctx.storage.get("password:ann")
    assert stored.startswith(b"$argon2id$")
    assert RIGHT["password"].encode() not in stored


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"user": ""},
        {"user": "a\nb"},
        {"password": ""},
        {"password": "x" * 129},
        {"password": "short"},
    ],
)
async def test_what_cannot_be_is_refused(http: httpx.AsyncClient, form: dict[str, str]) -> None:
    form = {**RIGHT, **form} if form else {}
    assert (await http.post("/user/sign-up", data=form)).status_code == 400


class Provider:
    """An OpenID Connect provider, honest unless told otherwise."""

    def __init__(self) -> None:
        self.address, self.nonce, self.challenge = "", "", ""
        self.changes: dict[str, Any] = {}
        self.key = KEY

    def app(self) -> Sanic:
        app = Sanic(f"provider_{next(_numbers)}")
        app.add_route(self.metadata, "/.well-known/openid-configuration")
        app.add_route(self.keys, "/keys")
        app.add_route(self.token, "/token", methods=["POST"])
        return app

    async def metadata(self, _: Request) -> HTTPResponse:
        ends = {"authorization": "ask", "token": "token"}
        found = {f"{name}_endpoint": f"{self.address}/{end}" for name, end in ends.items()}
        return json({"issuer": self.address, "jwks_uri": f"{self.address}/keys", **found})

    async def keys(self, _: Request) -> HTTPResponse:
        return json(KeySet([KEY]).as_dict(private=False))

    async def token(self, request: Request) -> HTTPResponse:
        verifier = (request.form or {}).get("code_verifier", "")
        digest = hashlib.sha256(verifier.encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != self.challenge:
            return json({"error": "invalid_grant"}, 400)
        claims = {
            "iss": self.address,
            "aud": "me",
            "sub": "42",
            "exp": time.time() + 60,
            "nonce": self.nonce,
            **self.changes,
        }
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key)
        return json({"access_token": "a", "token_type": "Bearer", "id_token": signed})


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    provider = Provider()
    async with serve(provider.app()) as address:
        provider.address = f"http://{address}"
        monkeypatch.setattr(sso, "ISSUER", provider.address)
        monkeypatch.setattr(sso, "CLIENT_ID", "me")
        yield provider


@asynccontextmanager
async def asked(site: Site, provider: Provider) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A browser that was sent to the provider, and the state it has to bring back."""
    async with site.http(follow_redirects=False) as http:
        sent = (await http.get("/sso/log-in")).headers["location"]
        query = {name: values[0] for name, values in parse_qs(urlsplit(sent).query).items()}
        provider.nonce, provider.challenge = query["nonce"], query["code_challenge"]
        yield http, query["state"]


async def test_whom_the_provider_names_is_logged_in(site: Site, provider: Provider) -> None:
    async with asked(site, provider) as (http, state):
        answer = await http.get("/sso/back", params={"state": state, "code": "c"})
        assert (answer.status_code, answer.headers["location"]) == (302, "/")
        assert await who(site, http) == f"{provider.address}#42"
        assert (
            await http.get("/sso/back", params={"state": state, "code": "c"})
        ).status_code == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"iss": "https://evil"},
        {"nonce": "other"},
        {"exp": 1},
        {"sub": None},
        {"key": "other"},
    ],
    ids=str,
)
async def test_what_is_not_vouched_for_logs_nobody_in(
    site: Site, provider: Provider, changes: dict[str, Any]
) -> None:
    if "key" in changes:
        provider.key = RSAKey.generate_key(2048, {"kid": "1"})
    provider.changes = changes
    async with asked(site, provider) as (http, state):
        answer = await http.get("/sso/back", params={"state": state, "code": "c"})
        assert answer.status_code == 403
        assert await who(site, http) is None


async def test_an_answer_that_another_browser_asked_for_is_refused(
    site: Site, provider: Provider
) -> None:
    async with asked(site, provider) as (_, state), site.http() as victim:
        for given in ({"state": state, "code": "c"}, {"code": "c"}, {}):
            assert (await victim.get("/sso/back", params=given)).status_code == 403
