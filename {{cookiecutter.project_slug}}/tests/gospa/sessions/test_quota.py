"""What visitors may store in sessions, and what goes with a session."""

import time
from collections.abc import AsyncIterator

import pytest
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import empty

import gospa
from gospa import Access, Room, Rooms, Session, rooms_of
from gospa.sessions import store as sessions
from gospa.sessions.rooms import decode
from gospa.sessions.session import Session as StoredSession
from gospa.sessions.store import UNUSED
from gospa.stats import Stats
from gospa.testing import OpenApp, Site, cookie_of, until
from tests.gospa.raw_client import raw_client
from tests.gospa.rooms import ROOMS, MyState, Sheet
from tests.gospa.views import blueprint


class Draft(Room[MyState]):
    """A session has many of them."""

    pattern = "draft/<name>"
    scope = "session"
    presence = True

    async def authorize(self, session: Session) -> Access:
        return Access.FULL


holding = Blueprint("holding")


@holding.post("/hold/<size:int>")
async def hold(request: Request, size: int) -> HTTPResponse:
    (await gospa.session_of(request))["held"] = "x" * size
    return empty()


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([*ROOMS, Draft], [blueprint], sessions_per_hour=3) as site:
        yield site


async def session_of(site: Site, cookie: str) -> StoredSession:
    record = await site.app.ctx.sessions.load(cookie.partition("=")[2])
    assert record is not None
    return record.session


async def lasts(site: Site, cookie: str) -> float:
    """For how many seconds a session is kept if nobody uses it."""
    settings, session = site.app.ctx.settings, await session_of(site, cookie)
    return session.remaining(time.time(), settings.session_idle, settings.session_absolute)


async def stored(site: Site) -> list[str]:
    """The keys of the rooms that are stored."""
    return sorted([name async for name in site.app.ctx.hub.store.names()])


async def test_a_socket_that_only_joins_gives_its_session_no_more_than_an_hour(
    site: Site,
) -> None:
    async with site.http() as browser, raw_client(site) as reader:
        await browser.post("/ws")
        async with raw_client(site, cookie=cookie_of(browser)) as member:
            for each in (reader, member):
                await each.join("sheet/a")
                await each.join("sheet/a#members")
            site.app.ctx.session_watch.on_gap()
            async with raw_client(site) as writer:
                await writer.join("sheet/a")
                await writer.call("sheet/a", "add")

                async def kept() -> bool:
                    return await lasts(site, writer.cookie) > UNUSED

                await until(kept)
            assert await lasts(site, reader.cookie) <= UNUSED
            assert await lasts(site, cookie_of(browser)) <= UNUSED


async def test_a_session_of_changes_is_kept_once_the_quota_of_its_address_allows_it(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(session_check_interval=0.05) as site, raw_client(site) as writer:
        answers = iter([False, True])
        monkeypatch.setattr(site.app.ctx.sessions.quota, "keep", lambda _: next(answers))
        await writer.join("sheet/a")
        await writer.call("sheet/a", "add")

        async def kept() -> bool:
            return (await session_of(site, writer.cookie)).kept

        await until(kept)


@pytest.mark.slow
async def test_a_session_lasts_as_long_as_a_socket_that_only_reads(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "UNUSED", 2.0)
    async with open_app(session_check_interval=0.05) as site, raw_client(site) as reader:
        await reader.join("sheet/a")
        began = (await session_of(site, reader.cookie)).renewed

        async def outlived() -> bool:
            return (await session_of(site, reader.cookie)).renewed > began + 4

        await until(outlived)
        assert not (await session_of(site, reader.cookie)).kept


async def test_sessions_of_an_address_that_begins_many_end_soon_and_nobody_is_refused(
    site: Site, stats: Stats
) -> None:
    cookies = []
    for _ in range(5):
        async with raw_client(site) as member:
            await member.join("sheet/a")
            cookies.append(member.cookie)
    left = [await lasts(site, cookie) for cookie in cookies]
    assert [each > UNUSED / 2 for each in left] == [True] * 3 + [False] * 2
    assert min(left) > 2 * site.app.ctx.settings.session_check_interval
    assert stats.of("limit_sessions") == 2


async def test_so_many_sessions_of_an_address_are_kept(site: Site, stats: Stats) -> None:
    cookies = []
    for _ in range(5):
        async with site.http() as browser:
            assert (await browser.post("/visit")).status_code == 200
            cookies.append(cookie_of(browser))
    kept = [await lasts(site, cookie) > UNUSED for cookie in cookies]
    assert kept == [True] * 3 + [False] * 2


async def test_too_many_log_ins_of_an_address_are_refused_and_open_sessions_go_on(
    site: Site, stats: Stats
) -> None:
    async with site.http() as greedy, site.http() as other:
        answers = [await greedy.post(f"/log-in/user{number}") for number in range(5)]
        assert [answer.status_code for answer in answers] == [204] * 3 + [429] * 2
        assert int(answers[-1].headers["Retry-After"]) > 0
        assert "too many log-ins" in answers[-1].text.lower()
        assert stats.of("limit_log_ins") == 2
        assert (await other.post("/visit")).json()["visits"] == 1
        async with raw_client(site, cookie=cookie_of(greedy)) as member:
            assert member.welcome[4]["user"] == "user2"  # a refused log-in left it as it was
            await member.join("users")
            await member.call("users", "say", text="still here")


async def test_what_a_session_holds_has_a_quota_and_may_shrink(open_app: OpenApp) -> None:
    async with (
        open_app(ROOMS, [holding], stored_per_day=10_000) as site,
        site.http() as browser,
        site.http() as other,
    ):
        sizes = (9_000, 30_000, 9_500, 10, 9_500)
        answers = [(await browser.post(f"/hold/{size}")).status_code for size in sizes]
        assert answers == [204, 429, 204, 204, 204]
        assert (await other.post("/hold/9000")).status_code == 204


async def test_a_private_room_goes_with_its_session(site: Site) -> None:
    async with site.http() as browser, raw_client(site) as other:
        await browser.post("/ws")
        await other.join("my")
        await other.write("my", note="stays")
        async with raw_client(site, cookie=cookie_of(browser)) as member:
            for name in ("my", "draft/a", "draft/b", "draft/a#members"):
                await member.join(name)
            for name in ("my", "draft/a", "draft/b"):
                await member.write(name, note="secret")
            identity = (await session_of(site, cookie_of(browser))).identity

            async def listed() -> bool:
                raw = await site.app.ctx.sessions._storage.get(f"rooms:{identity}")  # noqa: SLF001
                return len((raw and decode(raw)) or ()) == 4

            await until(listed)
        await browser.post("/log-out")

        async def gone() -> bool:
            return len(await stored(site)) == 1

        await until(gone)
        await other.write("my", note="still")


async def test_a_private_room_stored_while_its_session_ends_is_deleted(site: Site) -> None:
    async with raw_client(site) as member:
        identity = (await session_of(site, member.cookie)).identity
        rooms: Rooms = rooms_of(site.app)
        await rooms.call(Sheet.add, "sheet/a")
        await site.app.ctx.sessions.destroy(
            await site.app.ctx.sessions.load(member.cookie.partition("=")[2])
        )
        await site.app.ctx.sessions.own_room(identity, "sheet/a")
        assert await stored(site) == []


async def test_the_index_of_a_user_without_sessions_is_soon_forgotten(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gospa.sessions.index.EMPTY", 0.05)
    async with site.http() as browser:
        await browser.post("/log-in/ann")
        await browser.post("/log-out")
    storage = site.app.ctx.sessions._storage  # noqa: SLF001

    async def forgotten() -> bool:
        return [key async for key in storage.keys("user:")] == []

    await until(forgotten)
