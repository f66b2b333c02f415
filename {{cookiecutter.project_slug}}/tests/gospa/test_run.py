"""Commands that the application runs by itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gospa import (
    Invalid,
    RoomError,
    Rooms,
    rooms_of,
)
from gospa.testing import OpenApp, Site, until
from tests.gospa.bank import BANK, Bank, World, open_bank


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_bank(open_app) as site:
        yield site


async def test_the_application_runs_commands(rooms: Rooms) -> None:
    assert await rooms.run(Bank.order, BANK, 5) == [5, None]
    assert await rooms.run(Bank.order, BANK, amount=5, wait=False) == [10, None]
    with pytest.raises(RoomError, match="too much"):
        await rooms.run(Bank.order, BANK, 500)
    with pytest.raises(Invalid):
        await rooms.run(Bank.order, BANK, "5")  # type: ignore[arg-type]


async def test_a_command_under_a_key_is_run_again_with_each_change_applied_once(
    rooms: Rooms, site: Site
) -> None:
    for result in ([5, None], [None, None]):
        assert await rooms.once("event").run(Bank.order, BANK, 5) == result
    assert await rooms.once("another").run(Bank.order, BANK, 5) == [10, None]
    assert await rooms.once("event").run(Bank.order, "bank/b", 5) == [5, None]
    assert (await rooms.read(Bank, BANK)).fees == 2


async def test_a_key_is_remembered_for_commands_as_long_as_for_calls(open_app: OpenApp) -> None:
    async with open_app([Bank], mutation_ttl=0.05) as site:
        site.app.ctx.runs, site.app.ctx.answer = [], World().answer
        rooms = rooms_of(site.app)
        await rooms.once("event").run(Bank.order, BANK, 5)
        loop = asyncio.get_running_loop()
        later = loop.time() + 0.2
        await until(lambda: loop.time() > later)
        assert await rooms.once("event").run(Bank.order, BANK, 5) == [None, None]
