"""Rooms outside of a server: scripts, resources and jobs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

import pytest
from sanic import Sanic

from gospa import (
    Access,
    Room,
    Session,
    State,
    StoreError,
    action,
    create_app,
    open_rooms,
    rooms_of,
)
from gospa.app import Backends
from gospa.settings import Settings
from gospa.testing import OpenApp, serve, until
from tests.gospa.shop import ROOM, Shop


async def test_rooms_are_opened_again_but_not_while_they_are_open(
    settings: Settings, backends: Backends, open_app: OpenApp
) -> None:
    async with open_app([Shop]) as site:
        with pytest.raises(RuntimeError, match="rooms_of"):
            async with open_rooms(site.app):
                pass
    app = create_app("again", backends, [Shop], settings, jobs=[partial(_job, "x")])
    try:
        for _ in range(2):
            async with open_rooms(app) as rooms:
                assert rooms_of(app) is rooms
                assert await rooms.call(Shop.look, ROOM) == 3
            with pytest.raises(RuntimeError, match="not running"):
                rooms_of(app)
            assert app.ctx.settings is settings
    finally:
        Sanic.unregister_app(app)


async def _job(_: str, app: Sanic) -> None: ...


async def test_what_is_open_is_closed_when_a_later_resource_fails(
    settings: Settings, backends: Backends
) -> None:
    log: list[str] = []

    @asynccontextmanager
    async def database(_: Sanic) -> AsyncIterator[None]:
        log.append("open")
        try:
            yield
        finally:
            log.append("closed")

    def broken(_: Sanic) -> NoReturn:
        raise OSError

    app = create_app("broken", backends, [Shop], settings, resources=[database, broken])
    try:
        with pytest.raises(OSError):  # noqa: PT011
            async with serve(app):
                pass
    finally:
        Sanic.unregister_app(app)
    assert log == ["open", "closed"]


class PricedState(State):
    sum: int = 0


async def test_resources_and_jobs_are_the_same_served_and_in_a_script(
    settings: Settings, backends: Backends, open_app: OpenApp
) -> None:
    log: list[str] = []

    @asynccontextmanager
    async def database(app: Sanic) -> AsyncIterator[None]:
        app.ctx.prices = {"ball": 7}
        log.append("open")
        yield
        still_open = [room for room in app.ctx.hub.rooms.values() if not room.closed]
        log.append(f"closed, {len(still_open)} rooms open")

    async def seller(app: Sanic) -> None:
        await rooms_of(app).call(Priced.sell_one, "priced", "ball")
        log.append("sold")

    class Priced(Room[PricedState]):
        pattern = "priced"

        async def authorize(self, session: Session) -> Access:
            return Access.FULL

        @action
        def sell_one(self, state: PricedState, item: str) -> int:
            state.sum += self.app.ctx.prices[item]
            return state.sum

    app = create_app("script", backends, [Priced], settings, resources=[database], jobs=[seller])
    try:
        async with open_rooms(app) as rooms:
            await until(lambda: "sold" in log)
            assert (await rooms.read(Priced, "priced")).sum == 7
            if backends.state.shared:
                async with open_app([Priced]) as site:
                    assert (await rooms_of(site.app).read(Priced, "priced")).sum == 7
    finally:
        Sanic.unregister_app(app)
    assert log == ["open", "sold", "closed, 0 rooms open"]


async def test_a_job_that_fails_runs_again_and_one_that_ends_does_not(
    settings: Settings, backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []

    async def ending(_: Sanic) -> None:
        runs.append("ending")

    async def failing(_: Sanic) -> None:
        runs.append("failing")
        if runs.count("failing") < 3:
            raise StoreError

    monkeypatch.setattr("gospa.tasks.RESTART_DELAY", 0.01)
    app = create_app("jobs", backends, [Shop], settings, jobs=[ending, failing])
    try:
        async with open_rooms(app):
            await until(lambda: runs.count("failing") == 3)
            assert runs.count("ending") == 1
    finally:
        Sanic.unregister_app(app)
