"""One run of some work for all who need it at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from gospa import tasks
from gospa.errors import RateLimited, StoreUnavailable
from gospa.live.mutations import STOPPED

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs work by key. Whoever asks for a key while its work runs waits for that run."""

    def __init__(self, name: str) -> None:
        """`name` begins the names of the tasks."""
        self._name = name
        self._running: dict[str, asyncio.Task[T]] = {}

    async def run(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the work, which runs in the context of whoever asked first.

        It goes on if those who wait are cancelled. Raises what it raises, except that the limit of
        another visitor has it run again for this one; StoreUnavailable after `stop`.
        """
        while True:
            running = self._running.get(key)
            if mine := running is None or running.done():  # its callbacks may not have run yet
                running = asyncio.create_task(work(), name=f"{self._name} {key}")
                self._running[key] = running
                running.add_done_callback(partial(self._end, key))
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                if running.cancelled():  # and not the caller
                    raise StoreUnavailable(STOPPED) from None
                raise
            except RateLimited:
                if mine:
                    raise

    async def stop(self) -> None:
        """Cancel what runs: the worker stops."""
        await tasks.stop(*self._running.values())

    def _end(self, key: str, ended: asyncio.Task[T]) -> None:
        if self._running.get(key) is ended:
            del self._running[key]
        if not ended.cancelled():
            ended.exception()  # noted, as those who waited may have gone
