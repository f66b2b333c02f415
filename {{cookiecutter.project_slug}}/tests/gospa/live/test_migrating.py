"""Rooms whose stored shape is older or newer than the class."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from gospa import Access, Items, Member, Room, Session, State, StoreUnavailable, action, rooms_of
from gospa.errors import SchemaMismatch, StoreCorrupt
from gospa.store.codec import unpack_fields
from gospa.testing import OpenApp, Refused, Site, until
from tests.gospa.raw_client import RawClient, raw_client

DOC = "doc/a"


class OldState(State):
    title: str = "none"
    tags: list[str] = []


class Old(Room[OldState]):
    pattern = "doc/<name>"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def rename(self, state: OldState, title: str) -> None:
        state.title = title  # blind

    @action
    def tag(self, state: OldState, tag: str) -> None:
        state.tags.append(tag)


class NewState(State):
    name: str = "none"
    tags: Items[int] = Items()
    visitors: int = 0


class New(Room[NewState]):
    pattern, version = "doc/<name>", 2
    migrations = 0

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    def migrate(self, old: dict[str, Any], version: int) -> None:
        New.migrations += 1
        assert version == 1
        old["name"] = old.pop("title", "none")
        for number, tag in enumerate(old.pop("tags", [])):
            old[f"tags/{tag}"] = number

    @action
    def rename(self, state: NewState, name: str) -> None:
        state.name = name


class Visited(New):
    version = 2

    def joined(self, state: NewState, member: Member) -> None:
        state.visitors += 1


@pytest.fixture
async def old(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([Old]) as site:
        if not site.app.ctx.backends.state.shared:
            pytest.skip("releases share nothing")
        yield site


@pytest.fixture
async def new(open_app: OpenApp) -> AsyncIterator[Site]:
    New.migrations = 0
    async with open_app([New]) as site:
        yield site


async def stored(site: Site) -> dict[str, Any]:
    found = await site.app.ctx.hub.store.load(DOC)
    return {} if found is None else unpack_fields(found.fields)


async def make_old(site: Site) -> None:
    """A room as the old release keeps it, in version 2 of its chain."""
    rooms = rooms_of(site.app)
    await rooms.call(Old.rename, DOC, "Letter")
    await rooms.call(Old.tag, DOC, "red")


async def test_a_room_is_migrated_by_a_commit(old: Site, new: Site) -> None:
    await make_old(old)
    async with raw_client(new) as ann:
        state = await ann.join(DOC)
        assert {k: v for k, v in state.items() if not k.startswith("$")} == {
            "name": "Letter",
            "tags/red": 0,
            "visitors": 0,
        }
        assert ann.heads[DOC][0] == 3
        await ann.call(DOC, "rename", name="Bill")
    assert await stored(new) == {"name": "Bill", "tags/red": 0, "$schema": 2}


async def test_a_read_migrates_too(old: Site, new: Site) -> None:
    await make_old(old)
    assert (await rooms_of(new.app).read(New, DOC)).name == "Letter"
    assert (await stored(new))["$schema"] == 2


async def test_of_several_that_open_a_room_one_migrates_it(
    old: Site, new: Site, open_app: OpenApp
) -> None:
    await make_old(old)
    async with open_app([New]) as third:
        reads = (rooms_of(site.app).read(New, DOC) for site in (new, third) for _ in range(5))
        states = await asyncio.gather(*reads)
        assert {state.name for state in states} == {"Letter"}
        found = await third.app.ctx.hub.store.load(DOC)
        assert found.version == 3


async def test_a_blind_write_of_the_old_release_never_lands_in_the_new_shape(
    old: Site, new: Site
) -> None:
    await make_old(old)
    async with rooms_of(old.app).watch(Old, DOC) as states:
        await anext(states)
        await rooms_of(new.app).read(New, DOC)
        for title in ("first", "second"):
            with pytest.raises(SchemaMismatch):
                await rooms_of(old.app).call(Old.rename, DOC, title)
    assert await stored(new) == {"name": "Letter", "tags/red": 0, "$schema": 2}


async def close_code(member: RawClient) -> int | None:
    with pytest.raises(ConnectionClosed):
        await member.until(lambda _: False)
    return member.websocket.close_code


async def test_the_old_release_sends_its_members_elsewhere(old: Site, new: Site) -> None:
    await make_old(old)
    async with raw_client(old) as ann, raw_client(old) as bystander:
        await ann.join(DOC)
        await bystander.join("doc/other")
        await rooms_of(new.app).read(New, DOC)
        assert await close_code(ann) == 1012
        await bystander.call("doc/other", "rename", title="x")


@pytest.mark.slow
async def test_the_old_release_shows_nobody_a_newer_room(old: Site, new: Site) -> None:
    await make_old(old)
    async with raw_client(old) as ann, rooms_of(old.app).watch(Old, DOC):  # it stays open
        await ann.join(DOC)
        await rooms_of(new.app).read(New, DOC)
        assert await close_code(ann) == 1012
        async with raw_client(old) as again:
            with pytest.raises(Refused, match="unavailable"):
                await again.join(DOC)
            await again.join("doc/other")
    async with raw_client(old) as later:
        await until(lambda: DOC not in old.app.ctx.hub.rooms)
        with pytest.raises(Refused, match="unavailable"):
            await later.join(DOC)
        with pytest.raises(StoreUnavailable):
            await rooms_of(old.app).read(Old, DOC)


async def test_who_asks_the_old_release_again_for_a_newer_room_is_sent_elsewhere(
    old: Site, new: Site
) -> None:
    await make_old(old)
    await rooms_of(new.app).read(New, DOC)
    async with raw_client(old) as ann:
        with pytest.raises(Refused, match="unavailable"):
            await ann.join(DOC)
        with pytest.raises(Refused, match="unavailable"):
            await ann.join(DOC)
        assert await close_code(ann) == 1012


async def test_a_room_that_is_not_stored_gets_the_version_with_its_first_change(
    old: Site, new: Site
) -> None:
    async with raw_client(old) as late:
        await late.join(DOC)
        async with raw_client(new) as ann:
            await ann.join(DOC)
            assert await stored(new) == {}
            await ann.call(DOC, "rename", name="Bill")
            assert await stored(new) == {"name": "Bill", "$schema": 2}
        assert await close_code(late) == 1012
    with pytest.raises(SchemaMismatch):
        await rooms_of(old.app).call(Old.rename, DOC, "x")


async def test_a_room_that_was_deleted_may_be_made_by_either_release(old: Site, new: Site) -> None:
    await rooms_of(new.app).call(New.rename, DOC, "Bill")
    await rooms_of(new.app).delete(DOC)
    await rooms_of(old.app).call(Old.rename, DOC, "Letter")
    assert await stored(old) == {"title": "Letter"}
    assert (await rooms_of(new.app).read(New, DOC)).name == "Letter"


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (lambda _, old, __: old.update(name=5), StoreCorrupt),
        (lambda _, old, __: old["nothing"], KeyError),
        (lambda _, old, __: old.update(name=object()), Exception),
    ],
)
async def test_a_migration_that_fails_changes_nothing(
    old: Site, new: Site, broken: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_old(old)
    before = await stored(old)
    with monkeypatch.context() as patch:
        patch.setattr(New, "migrate", broken)
        with pytest.raises(error):
            await rooms_of(new.app).read(New, DOC)
        async with raw_client(new) as ann:
            with pytest.raises(Refused, match="internal"):
                await ann.join(DOC)
    assert await stored(new) == before
    assert (await rooms_of(new.app).read(New, DOC)).name == "Letter"


async def test_visits_outlast_a_migration_and_migrate_does_not_see_them(
    old: Site, open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(Old):
        def joined(self, state: OldState, member: Member) -> None:
            state.tags.append("joined")

    seen: list[str] = []

    def migrate(self: New, old: dict[str, Any], version: int) -> None:
        seen.extend(old)
        old.clear()

    monkeypatch.setattr(New, "migrate", migrate)
    async with open_app([Counting]) as counting, raw_client(counting) as ann:
        await ann.join(DOC)
        await ann.sees(DOC, lambda state: state["tags"] == ["joined"])
        async with open_app([Visited]) as visited:
            await rooms_of(visited.app).read(New, DOC)
            fields = await stored(visited)
            assert {key.partition("/")[0] for key in fields} == {"$schema", "$workers", "%visits"}
            assert seen == ["tags"]
            async with raw_client(visited, client=ann.client, cookie=ann.cookie) as again:
                await again.join(DOC)
                await visited.app.ctx.hub.rooms[DOC].mutations.idle.wait()
                assert again.states[DOC]["visitors"] == 0, "it is the same visit"


async def test_a_mutation_that_the_old_release_could_not_apply_is_applied_by_the_new_one(
    old: Site, new: Site
) -> None:
    await make_old(old)
    async with raw_client(old) as ann, rooms_of(old.app).watch(Old, DOC):
        await ann.join(DOC)
        local = old.app.ctx.hub.rooms[DOC]
        local.outdated = lambda: None  # ann's request is faster than the news
        await rooms_of(new.app).read(New, DOC)
        with pytest.raises(Refused, match="unavailable"):
            await ann.call(DOC, "rename", title="Bill")
        async with raw_client(new, client=ann.client, cookie=ann.cookie) as again:
            await again.join(DOC)
            await again.call(DOC, "rename", name="Bill")  # under the same number
            await again.sees(DOC, lambda state: state["name"] == "Bill")


async def test_a_room_that_the_old_release_makes_is_migrated_where_the_new_one_has_it_open(
    old: Site, new: Site
) -> None:
    async with raw_client(new) as ann:
        await ann.join(DOC)
        await rooms_of(old.app).call(Old.rename, DOC, "Letter")
        await ann.sees(DOC, lambda state: state["name"] == "Letter")
        await ann.call(DOC, "rename", name="Bill")
    assert await stored(new) == {"name": "Bill", "$schema": 2}
