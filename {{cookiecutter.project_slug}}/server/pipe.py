"""Commands to one server of Redis. Those of one step of the event loop share a round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

from server import background

LANES = 32  # round trips under way at a time; later commands wait, and go together

Command = Sequence[Any]  # its name, its arguments
Sent = TypeVar("Sent")


class Pipe(Generic[Sent]):
    """Gathers what callers send at the same time, for `exchange` to send at once."""

    def __init__(self, exchange: Callable[[list[Sent]], Awaitable[list[Any]]]) -> None:
        self._exchange = exchange
        self._waiting: list[tuple[Sequence[Sent], asyncio.Future[list[Any]]]] = []
        self._lanes = asyncio.Semaphore(LANES)
        self._round_trips: set[asyncio.Task[None]] = set()

    async def send(self, commands: Sequence[Sent]) -> list[Any]:
        """The answers to commands, exceptions among them."""
        answers: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, answers))
        if len(self._waiting) == 1:
            task = background.start(self._make_round_trip(), "round trip")
            self._round_trips.add(task)
            task.add_done_callback(self._round_trips.discard)
        return await answers

    async def _make_round_trip(self) -> None:
        async with self._lanes:
            await asyncio.sleep(0)  # until the other tasks of this step have added theirs
            batch, self._waiting = self._waiting, []
            commands = [command for part, _ in batch for command in part]
            try:
                answers = iter(await self._exchange(commands))
            except Exception as error:  # noqa: BLE001 - passed on: somebody waits for each answer
                answers = iter([error] * len(commands))
        for part, done in batch:
            own = list(islice(answers, len(part)))
            if not done.done():
                done.set_result(own)
