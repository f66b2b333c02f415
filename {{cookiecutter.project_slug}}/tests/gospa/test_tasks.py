import asyncio
import logging
import threading
from unittest.mock import AsyncMock

import pytest

from gospa import tasks
from gospa.errors import StoreUnavailable
from gospa.testing import until


async def fail() -> None:
    raise ValueError("the reason")


async def test_a_task_that_fails_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        task = tasks.start(fail(), "the work")
        await asyncio.wait([task])
        await until(lambda: "background task the work failed" in caplog.text)
    assert "the reason" in caplog.text


async def test_work_that_ends_is_begun_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "RESTART_DELAY", 0.001)
    runs = []

    async def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            await fail()

    task = tasks.keep_running(work, "the work")
    await until(lambda: len(runs) >= 3)
    await tasks.stop(task)
    assert task.cancelled()
    assert caplog.text.count("the work failed") == 1


async def test_a_task_that_loses_a_cancellation_is_stopped_nevertheless() -> None:
    lost = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.append(True)
        await asyncio.Event().wait()

    task = tasks.start(work(), "work")
    await asyncio.sleep(0)
    await tasks.stop(task)
    assert lost
    assert task.cancelled()


async def test_stopping_waits_for_the_end() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    running = [tasks.start(work(), "one"), tasks.start(work(), "two")]
    await asyncio.sleep(0)
    await tasks.stop(*running)
    assert ended == [True, True]


async def test_work_on_many_things_is_spread_over_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(asyncio, "sleep", AsyncMock(side_effect=pauses.append))
    steps = [step async for step in tasks.spread(range(2 * tasks.BATCH + 50), 3)]
    assert [len(step) for step in steps] == [tasks.BATCH, tasks.BATCH, 50]
    assert [item for step in steps for item in step] == list(range(2 * tasks.BATCH + 50))
    assert pauses == [1, 1, 1]


async def test_work_on_nothing_takes_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(asyncio, "sleep", AsyncMock(side_effect=pauses.append))
    nothing: list[int] = []
    assert [step async for step in tasks.spread(nothing, 3)] == [[]]
    assert pauses == [3]


async def test_a_thread_gives_its_result_or_error_and_holds_nothing_up() -> None:
    assert await tasks.in_thread(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        await tasks.in_thread(lambda: 1 // 0)
    assert await tasks.in_thread(lambda: threading.current_thread().daemon)


async def test_who_no_longer_waits_for_a_thread_is_not_told() -> None:
    go_on = threading.Event()
    waiting = asyncio.ensure_future(tasks.in_thread(go_on.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    assert await tasks.in_thread(lambda: 2) == 2


async def test_a_store_that_fails_is_said_in_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "RESTART_DELAY", 0.001)
    work = AsyncMock(side_effect=StoreUnavailable("it hangs"))
    task = tasks.keep_running(work, "the work")
    await until(lambda: work.await_count >= 2)
    await tasks.stop(task)
    assert "the work: it hangs; starting again" in caplog.text
    assert "Traceback" not in caplog.text
