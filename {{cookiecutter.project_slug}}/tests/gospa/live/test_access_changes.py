"""Access, and what is known of a member, while the member is in the room."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gospa import (
    Access,
    Room,
    Rooms,
    Session,
    State,
    action,
)
from gospa.testing import OpenApp, Refused, Site, until
from tests.gospa.live.hall import HALL, Hall
from tests.gospa.raw_client import raw_client


class OpenState(State):
    counted: int = 0


class Open(Room[OpenState]):
    """A room for everybody."""

    pattern = "open"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def count(self, state: OpenState) -> int:
        state.counted += 1
        return state.counted


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([Hall, Open], session_check_interval=3600) as site:
        site.app.ctx.broken = False
        yield site


async def change(site: Site, cookie: str, **values: Any) -> None:
    """Change a session, as a request of its visitor would."""
    record = await site.app.ctx.sessions.load(cookie.partition("=")[2])
    record.session.update(values)
    await site.app.ctx.sessions.save(record)
    site.app.ctx.session_watch.on_gap()


async def test_access_that_is_lost_in_one_room_is_told_for_that_room_alone(site: Site) -> None:
    cookie = await site.log_in("ann")
    async with raw_client(site, cookie=cookie) as ann:
        for room in (HALL, "open"):
            await ann.join(room)
        await change(site, cookie, banned=True)
        told = await ann.until(lambda message: message[0] == 4)
        assert told == [4, None, "unauthorized", f"you may no longer be in {HALL}", HALL]
        with pytest.raises(Refused, match="not_joined"):
            await ann.call(HALL, "speak")
        with pytest.raises(Refused, match="may not enter"):
            await ann.join(HALL)
        assert await ann.call("open", "count") == 1


async def test_access_that_changes_is_told_by_a_new_joined_and_nothing_else(site: Site) -> None:
    cookie = await site.log_in("ann")
    async with raw_client(site, cookie=cookie) as ann:
        await ann.join(HALL)
        await ann.call(HALL, "speak")
        state = await ann.sees(HALL, lambda state: state["spoken"] == 1)
        defaults = {**state, "spoken": 0}
        for muted, access in ((True, "read"), (False, "full"), (True, "read")):
            await change(site, cookie, muted=muted)
            assert await ann.receive() == [8, HALL, *ann.heads[HALL], defaults, [], access]
        with pytest.raises(Refused, match=f"you may only read {HALL}"):
            await ann.call(HALL, "speak")


async def test_what_is_vouched_for_follows_the_session(site: Site, rooms: Rooms) -> None:
    cookie = await site.log_in("ann", name="Ann")
    async with raw_client(site, cookie=cookie) as ann:
        await ann.join(HALL, claims="x")
        record = await site.app.ctx.sessions.load(cookie.partition("=")[2])
        record.session["name"] = "Anna"
        await site.app.ctx.sessions.save(record)
        site.app.ctx.session_watch.on_gap()

        async def told() -> bool:
            return bool(await ann.call(HALL, "speak") == ["ann", {"name": "Anna"}, "x"])

        await until(told)


async def test_a_rule_of_entry_that_fails_keeps_members_and_lets_nobody_in(
    site: Site, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_client(site, user="ann") as ann, raw_client(site, user="bob") as bob:
        await ann.join(HALL)

        async def fail(*_: Any) -> Access:
            raise ZeroDivisionError

        monkeypatch.setattr(Hall, "authorize", fail)
        await rooms.reauthorize(HALL)
        with pytest.raises(Refused, match="internal"):
            await bob.join(HALL)
        assert (await ann.call(HALL, "speak"))[0] == "ann"


async def test_an_answer_that_is_no_access_keeps_members_and_lets_nobody_in(
    site: Site, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def agree(*_: Any) -> bool:
        return True

    async with raw_client(site, user="ann") as ann, raw_client(site, user="bob") as bob:
        await bob.join(HALL)
        monkeypatch.setattr(Hall, "authorize", agree)
        await rooms.reauthorize(HALL)
        with pytest.raises(Refused, match="internal"):
            await ann.join(HALL)
        assert (await bob.call(HALL, "speak"))[0] == "bob"
