"""The login example as browsers use it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gospa.testing import OpenApp, Site


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    """The application as a demonstration."""
    async with open_app(demo=True) as site:
        yield site


async def shown(http: httpx.AsyncClient) -> dict[str, Any]:
    """What the account page is told."""
    answer: dict[str, Any] = (await http.get("/account/session")).json()
    return answer


async def test_a_visitor_logs_in_and_out(http: httpx.AsyncClient) -> None:
    assert await shown(http) == {
        "user": None,
        "sessions": [],
        "told": [],
        "demo": True,
        "https": False,
    }
    page = await http.post("/account/log-in", data={"name": " ann "})
    assert page.headers["content-type"].startswith("text/html")
    account = await shown(http)
    assert account["user"] == "ann"
    assert [session["here"] for session in account["sessions"]] == [True]
    assert account["told"] == ["Welcome, ann."]
    assert (await shown(http))["told"] == []
    await http.post("/account/log-out")
    assert (await shown(http))["told"] == ["You are logged out."]
    assert (await shown(http))["user"] is None


async def test_nobody_logs_in_by_name_alone_unless_it_is_a_demonstration(open_app: OpenApp) -> None:
    async with open_app() as site, site.http() as http:
        answer = await http.post("/account/log-in", data={"name": "admin"})
        assert answer.status_code == 404
        assert "set-cookie" not in answer.headers
        account = await shown(http)
        assert (account["user"], account["demo"]) == (None, False)
        assert (await http.get("/account")).status_code == 200


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "a\nb", "a\0b", "\u202eann"])
async def test_a_name_that_cannot_be_is_refused(http: httpx.AsyncClient, name: str) -> None:
    await http.post("/account/log-in", data={"name": name})
    account = await shown(http)
    assert account["user"] is None
    assert "characters" in account["told"][0]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 200), (b"\xff\xfe", 400), (b"name", 200), (b"{}", 200), (b"name[]=x", 200)],
)
async def test_a_form_that_is_none_is_refused(
    http: httpx.AsyncClient, body: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await http.post("/account/log-in", content=body, headers=headers)
    assert answer.status_code == status
    assert (await shown(http))["user"] is None


@pytest.mark.parametrize("path", ["log-in", "log-out", "log-out-everywhere"])
async def test_a_page_of_another_site_changes_nothing(site: Site, path: str) -> None:
    async with site.http(user="ann") as http:
        foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
        answer = await http.post(f"/account/{path}", data={"name": "eve"}, headers=foreign)
        assert answer.status_code == 403
        assert (await shown(http))["user"] == "ann"


async def test_the_page_learns_whether_its_cookie_needs_https(open_app: OpenApp) -> None:
    for insecure, needed in ((False, True), (True, False)):
        async with open_app(insecure_cookies=insecure) as site, site.http() as http:
            answer = await http.get("/account/session", headers={"Host": "192.168.0.2:8000"})
            assert answer.json()["https"] is needed


async def test_a_log_out_everywhere_ends_all_sessions_of_the_user(site: Site) -> None:
    async with site.http(user="ann") as here, site.http(user="ann") as elsewhere:
        assert len((await shown(here))["sessions"]) == 2
        await here.post("/account/log-out-everywhere")
        assert (await shown(elsewhere))["user"] is None
