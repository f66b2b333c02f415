"""Commands that share round trips: what is sent, who gets which answer, who waits for whom."""

import asyncio
import gc
import weakref
from contextvars import Context, ContextVar
from typing import Any

import pytest

from gospa.backends.redis.batch import MAX_IN_FLIGHT, Batch, Packed
from gospa.testing import until


class Server:
    """Answers each command with its last word, once it may."""

    def __init__(self) -> None:
        self.round_trips: list[int] = []
        self.open = asyncio.Event()
        self.open.set()

    async def exchange(self, commands: list[Packed]) -> list[Any]:
        self.round_trips.append(len(commands))
        await self.open.wait()
        if "FAIL" in [name for name, _ in commands]:
            raise ConnectionError("lost")
        return [packed.split()[-1].decode() for _, packed in commands]


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def pipe(server: Server) -> Batch:
    return Batch(server.exchange)


async def test_commands_of_one_step_share_a_round_trip(server: Server, pipe: Batch) -> None:
    parts = [[["ECHO", f"{caller}-{n}"] for n in range(caller)] for caller in range(5)]
    answers = await asyncio.gather(*map(pipe.send, parts))
    assert answers == [[command[-1] for command in part] for part in parts]
    assert server.round_trips == [10]


async def test_one_that_waits_for_nobody_goes_alone(server: Server, pipe: Batch) -> None:
    for word in ("a", "b"):
        assert await pipe.send([["ECHO", word]]) == [word]
    assert server.round_trips == [1, 1]


async def test_nobody_waits_for_a_round_trip_that_is_under_way(server: Server, pipe: Batch) -> None:
    server.open.clear()
    slow = asyncio.create_task(pipe.send([["ECHO", "slow"]]))
    await until(lambda: server.round_trips == [1])
    quick = asyncio.create_task(pipe.send([["ECHO", "quick"]]))
    await until(lambda: server.round_trips == [1, 1])
    server.open.set()
    assert await quick == ["quick"]
    assert await slow == ["slow"]


async def test_an_error_is_the_answer_of_all_who_shared_it(server: Server, pipe: Batch) -> None:
    lost, failed = await asyncio.gather(
        pipe.send([["ECHO", "a"], ["ECHO", "b"]]), pipe.send([["FAIL"]])
    )
    assert [type(answer) for answer in (*lost, *failed)] == [ConnectionError] * 3
    assert await pipe.send([["ECHO", "c"]]) == ["c"]


async def test_one_who_gave_up_leaves_the_others_their_answers(server: Server, pipe: Batch) -> None:
    server.open.clear()
    gone, stays = (asyncio.create_task(pipe.send([["ECHO", word]])) for word in "ab")
    await until(lambda: server.round_trips == [2])
    gone.cancel()
    server.open.set()
    assert await stays == ["b"]
    assert gone.cancelled()


async def test_what_finds_no_lane_waits_and_goes_together(server: Server, pipe: Batch) -> None:
    server.open.clear()
    callers = []
    for number in range(MAX_IN_FLIGHT):
        callers.append(asyncio.create_task(pipe.send([["ECHO", str(number)]])))
        await until(lambda: sum(server.round_trips) == len(callers))
    late = [asyncio.create_task(pipe.send([["ECHO", str(n)]])) for n in range(MAX_IN_FLIGHT, 50)]
    server.open.set()
    assert await asyncio.gather(*callers, *late) == [[str(n)] for n in range(50)]
    assert server.round_trips == [*[1] * MAX_IN_FLIGHT, 50 - MAX_IN_FLIGHT]


async def test_who_closes_it_waits_for_what_is_under_way(server: Server, pipe: Batch) -> None:
    server.open.clear()
    gone = asyncio.create_task(pipe.send([["ECHO", "a"]]))
    await until(lambda: server.round_trips == [1])
    gone.cancel()
    closing = asyncio.create_task(pipe.aclose())
    await asyncio.wait([closing], timeout=0.01)
    assert not closing.done()
    server.open.set()
    await closing


async def test_callers_of_a_round_trip_that_is_cancelled_get_an_error(
    server: Server, pipe: Batch
) -> None:
    server.open.clear()
    waiting = asyncio.create_task(pipe.send([["ECHO", "a"], ["ECHO", "b"]]))
    await until(lambda: server.round_trips == [2])
    for sender in list(pipe._senders):  # noqa: SLF001 - a library may do so
        sender.cancel()
    assert [type(answer) for answer in await waiting] == [ConnectionError, ConnectionError]
    server.open.set()
    assert await pipe.send([["ECHO", "c"]]) == ["c"]


async def test_it_keeps_nothing_of_the_requests_that_came_first(pipe: Batch) -> None:
    class Kept:
        """As Sanic keeps the request, with its body."""

    variable: ContextVar[Kept | None] = ContextVar("variable")
    kept = Kept()
    seen = weakref.ref(kept)
    context = Context()
    context.run(variable.set, kept)
    task = asyncio.get_running_loop().create_task(pipe.send([["ECHO", "a"]]), context=context)
    assert await task == ["a"]
    del context, kept, task
    await asyncio.sleep(0)
    gc.collect()
    assert seen() is None


async def test_a_request_that_is_late_at_the_end_still_gets_its_answer(
    server: Server, pipe: Batch
) -> None:
    server.open.clear()
    callers = []
    for number in range(MAX_IN_FLIGHT):  # as many senders as there may be
        callers.append(asyncio.create_task(pipe.send([["ECHO", str(number)]])))
        await until(lambda: len(server.round_trips) == len(callers))
    server.open.set()
    await asyncio.gather(*callers)
    await pipe.aclose()
    async with asyncio.timeout(40):
        assert await pipe.send([["ECHO", "late"]]) == ["late"]
