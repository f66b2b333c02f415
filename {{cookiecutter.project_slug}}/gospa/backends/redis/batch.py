"""Commands to one server of Redis. Those of one step of the event loop share a round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any

from hiredis import pack_command

from gospa import tasks

LANES = 32  # round trips under way at a time; later commands wait, and go together

Command = Sequence[Any]  # its name, its arguments
Packed = tuple[str, bytes]  # its name, all of it as it is sent


class Pipe:
    """Gathers what callers send at the same time, for `exchange` to send at once."""

    def __init__(self, exchange: Callable[[list[Packed]], Awaitable[list[Any]]]) -> None:
        self._exchange = exchange
        self._waiting: list[tuple[list[Packed], asyncio.Future[list[Any]]]] = []
        self._lanes = asyncio.Semaphore(LANES)
        self._round_trips: set[asyncio.Task[None]] = set()

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands, exceptions among them, which other callers may get as well."""
        # Packed here, as what cannot be packed is a mistake of this caller alone.
        packed = [(name, pack_command((name, *rest))) for name, *rest in commands]
        answers: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((packed, answers))
        if len(self._waiting) == 1:
            task = tasks.start(self._make_round_trip(), "round trip")
            self._round_trips.add(task)
            task.add_done_callback(self._round_trips.discard)
        return await answers

    async def aclose(self) -> None:
        """Wait for the round trips of callers who gave up: they have connections."""
        if self._round_trips:
            await asyncio.wait(self._round_trips)

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


async def exchange(client: Any, connection: Any, commands: list[Packed]) -> list[Any]:
    """The answers that come on a connection of redis-py's, exceptions among them.

    It closes a connection of which it could not read an answer, and the rest are errors.
    """
    await connection.send_packed_command(b"".join([packed for _, packed in commands]))
    return [await _read(client, connection, name) for name, _ in commands]


async def _read(client: Any, connection: Any, name: str) -> Any:
    try:
        return await client.parse_response(connection, name)
    except Exception as error:  # noqa: BLE001 - an answer like others, and more of them follow
        return error
