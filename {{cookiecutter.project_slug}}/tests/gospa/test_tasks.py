import asyncio
import logging

import pytest

from gospa import tasks
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
