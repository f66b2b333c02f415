"""Supervised background tasks: an exception that ends one is logged."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from itertools import islice
from typing import Any, TypeVar, cast

from sanic.log import logger

from gospa.errors import StoreError

RESTART_DELAY = 1.0  # seconds
CANCEL_AGAIN = 0.1  # seconds
BATCH = 100  # items handled before the event loop runs other work

T = TypeVar("T")


def start(
    coroutine: Coroutine[Any, Any, None], name: str, context: Context | None = None
) -> asyncio.Task[None]:
    """Run `coroutine` as a task; an exception that ends it is logged.

    Its context is a copy of the caller's. For a task that outlives the caller's request, pass an
    empty one, `Context()`: otherwise the task keeps that request, with its body, in memory.
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
            except StoreError as error:  # one line without a traceback: it is no bug
                logger.warning("%s: %s; starting again in %s s", name, error, RESTART_DELAY)
            except Exception:  # any error: the work has to continue
                logger.exception("%s failed; starting it again in %s s", name, RESTART_DELAY)
            await asyncio.sleep(RESTART_DELAY)

    return start(run(), name)


async def until_done(work: Callable[[], Awaitable[None]], name: str) -> None:
    """Run `work` until it ends by itself; it is run again after an exception, which is logged."""
    while True:
        try:
            return await work()
        except Exception:  # any error: the work has to continue
            logger.exception("%s failed; starting it again in %s s", name, RESTART_DELAY)
        await asyncio.sleep(RESTART_DELAY)


@asynccontextmanager
async def running(work: Callable[[], Awaitable[None]], name: str) -> AsyncIterator[None]:
    """Keep `work` running until the block ends."""
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


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a new daemon thread, for which the end of the process does not wait.

    The process would wait for a thread of `asyncio.to_thread`.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(cast("T", result))
        else:
            done.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            failure = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="preparing", daemon=True).start()
    return await done


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists of at most BATCH."""
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


async def spread(items: Iterable[T], seconds: float) -> AsyncIterator[list[T]]:
    """The items in batches at regular intervals, the last after `seconds`.

    So work on thousands of items does not block the event loop for long.
    """
    steps = list(batches(items)) or [[]]
    for step in steps:
        await asyncio.sleep(seconds / len(steps))
        yield step


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("background task %s failed", task.get_name(), exc_info=error)
