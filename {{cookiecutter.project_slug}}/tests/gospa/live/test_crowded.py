"""How many connections a session and an address may have."""

import asyncio
import contextlib
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from gospa import rates
from gospa.testing import OpenApp, logged_in, until
from tests.gospa.conftest import EXTRAS
from tests.gospa.raw_client import RawClient
from tests.gospa.wire import refusal_of


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"connections_per_session": 2}, b"connections of this session"),
        ({"connections_per_address": 2}, b"connections from this address"),
        ({"handshakes_per_second": 0.2}, b"handshakes from this address"),
    ],
)
async def test_too_many_connections_are_refused_with_the_reason(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], reason: bytes
) -> None:
    monkeypatch.setattr(rates, "monotonic", lambda: 0.0)  # all come in one moment
    async with open_app(**limits) as (app, address), contextlib.AsyncExitStack() as stack:
        cookie = await logged_in(app, "ann")
        for _ in range(2):
            await stack.enter_async_context(RawClient.connect(address, cookie=cookie))
        answer = await refusal_of(address, cookie=cookie)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert reason in answer.body


@pytest.mark.parametrize("limit", ["connections_per_session", "connections_per_address"])
async def test_of_handshakes_at_once_no_more_are_taken_than_may_be(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    async with open_app(None, (), EXTRAS, **{limit: 2}) as (app, address):
        cookie = await logged_in(app, "ann")
        find, all_came, over = app.ctx.sessions.find, asyncio.Barrier(6), asyncio.Event()
        outcomes: list[bool] = []

        async def held_up(identity: str) -> Any:
            await all_came.wait()
            return await find(identity)

        async def come() -> None:
            try:
                async with RawClient.connect(address, cookie=cookie):
                    outcomes.append(True)
                    await over.wait()
            except InvalidStatus:
                outcomes.append(False)

        monkeypatch.setattr(app.ctx.sessions, "find", held_up)
        async with asyncio.TaskGroup() as coming:
            for _ in range(6):
                coming.create_task(come())
            await until(lambda: len(outcomes) == 6)
            over.set()
        assert outcomes.count(True) == 2


@pytest.mark.parametrize("limit", ["connections_per_session", "connections_per_address"])
async def test_who_has_gone_leaves_room_for_another(open_app: OpenApp, limit: str) -> None:
    async with open_app(None, (), EXTRAS, **{limit: 1}) as (app, address):
        cookie = await logged_in(app, "ann")

        async def let_in() -> bool:
            with contextlib.suppress(InvalidStatus):
                async with RawClient.connect(address, cookie=cookie):
                    return True
            return False

        for _ in range(3):
            await until(let_in)
