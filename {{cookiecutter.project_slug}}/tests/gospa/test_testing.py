"""The fixtures that are offered to all tests."""

import httpx
import pytest
from sanic import Sanic

from gospa import testing
from gospa.app import Backends, create_app
from gospa.settings import Settings
from gospa.testing import Connect, OpenApp, Refused, Site, serve
from tests.gospa.rooms import ROOMS
from tests.gospa.views import blueprint


def test_no_fixture_has_an_undocumented_name_that_a_users_test_may_choose() -> None:
    fixtures = {name for name, value in vars(testing).items() if type(value) is type(testing.site)}
    own = {name for name in fixtures if not name.startswith("_gospa_")}
    assert "site" in own
    assert [name for name in own if f"| `{name}` " not in str(testing.__doc__)] == []


async def test_listeners_run_in_order(settings: Settings, backends: Backends) -> None:
    app = create_app("listeners", backends, ROOMS, settings)
    ran = []
    for when in (
        *("before_server_start", "after_server_start"),
        *("before_server_stop", "after_server_stop"),
    ):

        async def listen(_: Sanic, when: str = when) -> None:
            ran.append(when)

        app.register_listener(listen, when)
    async with serve(app):
        assert ran == ["before_server_start", "after_server_start"]
    assert ran[2:] == ["before_server_stop", "after_server_stop"]


async def test_an_application_that_was_served_is_forgotten(open_app: OpenApp) -> None:
    before = set(Sanic._app_registry)  # noqa: SLF001 - there is no other way to list them
    async with open_app() as site:
        assert site.app.name not in before
    assert set(Sanic._app_registry) == before  # noqa: SLF001


async def test_settings_are_changed_for_one_application(open_app: OpenApp) -> None:
    async with open_app(session_idle=5) as one, open_app() as other:
        assert one.app.ctx.settings.session_idle == 5
        assert other.app.ctx.settings.session_idle != 5


async def test_members_are_visitors_or_users(connect: Connect) -> None:
    async with connect() as visitor, connect(user="ann") as ann:
        with pytest.raises(Refused, match="unauthorized"):
            await visitor.join("users")
        await ann.join("users")


async def test_a_client_does_not_wait_for_ever(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "PATIENCE", 0.5)
    with pytest.raises(TimeoutError):  # on a slow machine already while it joins
        async with connect() as ann:
            await (await ann.join("sheet/a")).until(lambda state: state["count"] == 1)


async def test_events_are_heard_in_their_order_and_once(connect: Connect) -> None:
    async with connect() as ann, connect() as bob:
        here, there = await ann.join("sheet/a"), await bob.join("sheet/a")
        for number in range(3):
            await here.send("typing", number)
        await here.call("add")
        await there.until(lambda state: state["count"] == 1)
        assert [(await there.next_event("typing")).payload for _ in range(3)] == [0, 1, 2]


async def test_an_http_client_keeps_its_session(open_app: OpenApp) -> None:
    async with open_app(ROOMS, [blueprint]) as site, site.http(user="ann") as http:
        assert [await visits(http) for _ in range(2)] == [1, 2]
        async with site.http() as another:
            assert await visits(another) == 1


async def visits(http: httpx.AsyncClient) -> int:
    return int((await http.post("/visit")).json()["visits"])


async def test_a_site_is_its_application_and_address(site: Site, address: str) -> None:
    app, where = site
    assert (app.name, where) == (site.app.name, address)
