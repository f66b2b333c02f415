"""One run for all who ask at once: opening a room, and its `load`."""

import asyncio

import pytest

from gospa.errors import RateLimited, StoreUnavailable
from gospa.live.single_flight import SingleFlight


@pytest.fixture
def flight() -> SingleFlight[int]:
    return SingleFlight("work on")


async def test_those_who_ask_at_once_share_a_run_and_the_next_one_has_another(
    flight: SingleFlight[int],
) -> None:
    runs = 0

    async def work() -> int:
        nonlocal runs
        runs += 1
        number = runs
        await asyncio.sleep(0)
        return number

    assert await asyncio.gather(*(flight.run("a", work) for _ in range(3))) == [1, 1, 1]
    assert [*await asyncio.gather(flight.run("a", work), flight.run("b", work))] == [2, 3]


async def test_one_who_gives_up_leaves_the_run_to_the_others(flight: SingleFlight[int]) -> None:
    go_on = asyncio.Event()

    async def work() -> int:
        await go_on.wait()
        return 5

    first, other = (asyncio.create_task(flight.run("a", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    assert await other == 5
    assert first.cancelled()


async def test_what_is_stopped_is_unavailable_to_all(flight: SingleFlight[int]) -> None:
    async def work() -> int:
        await asyncio.Event().wait()
        return 5

    waiting = [asyncio.create_task(flight.run("a", work)) for _ in range(2)]
    await asyncio.sleep(0)
    await flight.stop()
    for each in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(each, StoreUnavailable)


async def test_the_limit_of_one_visitor_is_no_others(flight: SingleFlight[int]) -> None:
    async def refused() -> int:
        await asyncio.sleep(0)
        raise RateLimited("no")

    async def allowed() -> int:
        return 5

    first = asyncio.create_task(flight.run("a", refused))
    await asyncio.sleep(0)
    assert await flight.run("a", allowed) == 5
    with pytest.raises(RateLimited):
        await first


async def test_a_run_that_has_just_failed_is_not_joined(flight: SingleFlight[int]) -> None:
    """A caller that came before its callbacks ran would join it again for ever, without a pause."""
    late: list[asyncio.Task[int]] = []

    async def allowed() -> int:
        return 5

    async def refused() -> int:
        late.append(asyncio.create_task(flight.run("a", allowed)))  # its turn is before them
        raise RateLimited("no")

    with pytest.raises(RateLimited):
        await flight.run("a", refused)
    assert await late[0] == 5
