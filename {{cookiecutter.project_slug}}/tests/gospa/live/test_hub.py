"""What a hub does for all of its rooms leaves the event loop to others in between."""

import contextlib
from collections.abc import Sequence

import pytest

from gospa import Access, Room, Session, State, tasks
from gospa.testing import OpenApp, until

MANY = 2 * tasks.BATCH + 50


class Page(Room[State]):
    pattern = "page/<name>"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL


@pytest.mark.slow
async def test_rooms_are_compared_with_the_store_in_batches(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app([Page], head_check_interval=0.05) as (app, _):
        hub, asked = app.ctx.hub, list[list[str]]()
        latest_tags = hub.store.latest_tags

        async def record(rooms: Sequence[str]) -> dict[str, bytes]:
            asked.append(list(rooms))
            return await latest_tags(rooms)

        monkeypatch.setattr(hub.store, "latest_tags", record)
        async with contextlib.AsyncExitStack() as stack:
            names = [f"page/{number}" for number in range(MANY)]
            for name in names:
                await stack.enter_async_context(hub.hold(*hub.router.resolve(name, None)))
            await until(lambda: set(names) == {name for some in asked for name in some})
            asked.clear()
            await until(lambda: set(names) == {name for some in asked for name in some})
        assert max(map(len, asked)) == tasks.BATCH


@pytest.mark.slow
async def test_rooms_nobody_needs_are_closed_however_many_they_are(open_app: OpenApp) -> None:
    async with open_app([Page]) as (app, _):
        hub = app.ctx.hub
        for number in range(MANY):
            async with hub.hold(*hub.router.resolve(f"page/{number}", None)):
                pass
        await until(lambda: not hub.rooms)
