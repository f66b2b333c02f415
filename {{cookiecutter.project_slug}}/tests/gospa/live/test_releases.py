"""Hosts of two releases beside each other: what a deploy may change, and the way back.

Each application here is a host, on one store and one pub/sub; docs/deployment.md has the table.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import pytest
from msgspec import Meta
from websockets.exceptions import ConnectionClosed

import app as chosen
from gospa import Access, Items, Room, Session, State, Writable, action
from gospa.live.moving import NotMoved, gone, move
from gospa.testing import OpenApp, Refused, Site
from tests.gospa.raw_client import RawClient

pytestmark = pytest.mark.skipif(
    bool(chosen.BACKENDS.isolated()), reason="hosts that share nothing have no common rooms"
)
Hosts = tuple[Site, Site]


class Open:
    async def authorize(self, session: Session) -> Access:
        return Access.FULL


class OldState(State):
    count: int = 0
    gone: Writable[str] = "old"


class NewState(State):
    count: int = 0
    added: Writable[str] = "new"
    notes: Items[str] = Items()


class OldSheet(Open, Room[OldState]):
    pattern = "sheet/<name>"

    @action
    def add(self, state: OldState) -> int:
        state.count += 1
        return state.count

    @action
    def rename(self, state: OldState, to: str) -> None:
        state.gone = to


class NewSheet(Open, Room[NewState]):
    pattern = "sheet/<name>"

    @action
    def add(self, state: NewState, amount: int = 1) -> int:
        state.count += amount
        return state.count

    @action
    def note(self, state: NewState, text: Annotated[str, Meta(max_length=9)]) -> None:
        state.notes.append(text)


class Elsewhere(NewSheet):
    pattern = "paper/<name>"


class ReadOnly(NewSheet):
    async def authorize(self, session: Session) -> Access:
        return Access.READ


@asynccontextmanager
async def beside(
    open_app: OpenApp, old: Sequence[type[Room[Any]]], new: Sequence[type[Room[Any]]]
) -> AsyncIterator[Hosts]:
    """A host of each release."""
    async with AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(open_app(rooms, release=release))
            for release, rooms in (("old", old), ("new", new))
        ]
        yield hosts[0], hosts[1]


@asynccontextmanager
async def page_of(
    release: str | None, host: Site, client: bytes = b"", cookie: str = ""
) -> AsyncIterator[RawClient]:
    """A page of a release, connected to a host."""
    async with RawClient.connect(host.address, client=client, cookie=cookie, hello=False) as page:
        await page.send(6, page.client, release)
        page.welcome = await page.receive()
        yield page


async def closes(page: RawClient, *message: Any) -> int:
    """The code with which a message is answered."""
    await page.send(*message)
    with pytest.raises(ConnectionClosed):
        await page.until(lambda answer: answer[0] == 4)
    return int(page.websocket.close_code or 0)


@pytest.mark.parametrize(
    ("action", "args"),
    [("note", {"text": "hello"}), ("add", {"amount": 2}), ("rename", {"to": "x"})],
)
async def test_what_one_release_does_not_know_the_other_one_applies(
    open_app: OpenApp, action: str, args: dict[str, Any]
) -> None:
    """An action, or an argument, that was added or removed: nothing is refused for good."""
    async with beside(open_app, [OldSheet], [NewSheet]) as (old, new):
        release, wrong, right = ("old", new, old) if action == "rename" else ("new", old, new)
        cookie = await old.log_in("ann")
        async with page_of(release, wrong, bytes(16), cookie) as page:
            await page.join("sheet/a")
            assert await closes(page, 2, 1, "sheet/a", action, args) == 4006
        async with page_of(release, right, bytes(16), cookie) as page:
            await page.join("sheet/a")
            await page.call("sheet/a", action, **args)
            state = await page.join("sheet/a")
            assert {"hello", 2, "x"} & {*state.values()}


async def test_a_page_of_the_same_release_is_refused_at_once(open_app: OpenApp) -> None:
    async with beside(open_app, [OldSheet], [NewSheet]) as (_, new):
        for release in ("new", "", None):
            async with page_of(release, new) as page:
                await page.join("sheet/a")
                for action, args in (("rename", {"to": "x"}), ("note", {"text": "much too long"})):
                    with pytest.raises(Refused):
                        await page.call("sheet/a", action, **args)
                assert await page.call("sheet/a", "add")
                with pytest.raises(Refused, match="no room"):
                    await page.join("nowhere")


async def test_fields_that_one_release_lacks_stay_in_the_room(open_app: OpenApp) -> None:
    """Added or removed: each host fills in its own defaults, and neither loses what is stored."""
    async with beside(open_app, [OldSheet], [NewSheet]) as (old, new):
        async with page_of("old", old) as first, page_of("new", new) as second:
            assert (await first.join("sheet/a"))["gone"] == "old"
            state = await second.join("sheet/a")
            assert (state["added"], "gone" in state) == ("new", False)
            await first.call("sheet/a", "rename", to="kept")
            await second.call("sheet/a", "note", text="also")
            await first.call("sheet/a", "add")
            await second.sees("sheet/a", lambda state: state.get("count") == 1)
        async with page_of("old", old) as page:
            state = await page.join("sheet/a")
            assert (state["gone"], state["count"]) == ("kept", 1)
            assert "also" in state.values()


async def test_a_pattern_that_one_release_lacks_is_found_at_a_host_of_the_other(
    open_app: OpenApp,
) -> None:
    async with beside(open_app, [OldSheet], [Elsewhere]) as (old, new):
        async with page_of("new", old) as page:
            assert await closes(page, 0, "paper/a", None, None) == 4006
        async with page_of("old", new) as page:
            assert await closes(page, 0, "sheet/a", None, None) == 4006
        async with page_of("new", new) as page:
            await page.join("paper/a")


async def test_each_host_decides_about_access_by_its_own_release(open_app: OpenApp) -> None:
    async with beside(open_app, [NewSheet], [ReadOnly]) as (old, new):
        async with page_of("old", new) as page:
            await page.join("sheet/a")
            assert page.access["sheet/a"] == "read"
            with pytest.raises(Refused, match="only"):
                await page.call("sheet/a", "add")
        async with page_of("old", old) as page:
            await page.join("sheet/a")
            assert await page.call("sheet/a", "add") == 1


async def test_hosts_with_another_prefix_share_nothing(open_app: OpenApp) -> None:
    async with (
        open_app([NewSheet], key_prefix="one:") as one,
        open_app([NewSheet], key_prefix="two:") as two,
        page_of("", one) as first,
        page_of("", two) as second,
    ):
        await first.join("sheet/prefix")
        assert await second.join("sheet/prefix") == {"count": 0, "added": "new"}
        await one.app.ctx.rooms.delete("sheet/prefix")


async def test_rooms_whose_class_is_gone_are_moved_and_moved_back(open_app: OpenApp) -> None:
    async with beside(open_app, [OldSheet], [Elsewhere]) as (old, new):
        for name, count in (("a", 1), ("b", 2)):
            for _ in range(count):
                await old.app.ctx.rooms.call(OldSheet.add, f"sheet/{name}")
        store, router = new.app.ctx.hub.store, new.app.ctx.router
        assert {key async for key in gone(store, router)} == {"sheet/a", "sheet/b"}
        assert [key async for key in gone(store, old.app.ctx.router)] == []
        await move(store, router, "sheet/a", "paper/a")
        async with page_of("new", new) as page:
            assert (await page.join("paper/a"))["count"] == 1
            await page.call("paper/a", "add")
        assert [key async for key in gone(store, router)] == ["sheet/b"]
        with pytest.raises(NotMoved, match="already"):
            await move(store, router, "sheet/b", "paper/a")
        with pytest.raises(NotMoved, match="has a class"):
            await move(store, router, "paper/a", "paper/c")
        with pytest.raises(NotMoved, match="no room"):
            await move(store, router, "sheet/c", "paper/c")
        await move(store, old.app.ctx.router, "paper/a", "sheet/a")
        async with page_of("old", old) as page:
            await page.join("sheet/a")
            await page.sees("sheet/a", lambda state: state["count"] == 2)
