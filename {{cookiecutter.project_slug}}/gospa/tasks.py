"""Supervised background tasks: an exception that ends one is logged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any

from sanic.log import logger

RESTART_DELAY = 1.0  # seconds
CANCEL_AGAIN = 0.1  # seconds


def start(
    coroutine: Coroutine[Any, Any, None], name: str, context: Context | None = None
) -> asyncio.Task[None]:
    """Run `coroutine` as a task; an exception that ends it is logged.

    Its context is a copy of the caller's. Give a task that outlives the request of its caller an
    empty one, `Context()`: else it keeps that request, with its body, in memory.
    """
    task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
    task.add_done_callback(_report, context=context)
    return task


def keep_running(work: Callable[[], Awaitable[None]], name: str) -> asyncio.Task[None]:
    """Run `work` again whenever it ends, until the task is cancelled."""

    async def run() -> None:
        while True:
            try:
                await work()
            except Exception:  # whatever it was: the work must go on
                logger.exception("%s failed; starting it again in %s s", name, RESTART_DELAY)
            await asyncio.sleep(RESTART_DELAY)

    return start(run(), name)


async def until_done(work: Callable[[], Awaitable[None]], name: str) -> None:
    """Run `work` until it ends by itself; it is run again after an exception, which is logged."""
    while True:
        try:
            return await work()
        except Exception:  # whatever it was: the work must go on
            logger.exception("%s failed; starting it again in %s s", name, RESTART_DELAY)
        await asyncio.sleep(RESTART_DELAY)


@asynccontextmanager
async def running(work: Callable[[], Awaitable[None]], name: str) -> AsyncIterator[None]:
    """Keep `work` running as long as the block lasts."""
    task = keep_running(work, name)
    try:
        yield
    finally:
        await stop(task)


async def stop(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until they have ended.

    Libraries swallow cancellations (redis-py may while it connects), so they are repeated.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("background task %s failed", task.get_name(), exc_info=error)
