"""Commands to one Redis server: those of one iteration of the event loop share a round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from itertools import islice
from typing import Any

import redis.asyncio as aioredis
from hiredis import pack_command
from redis import exceptions

from gospa import tasks

MAX_IN_FLIGHT = 32  # round trips of one client; later commands wait, and share the next

CANCELLED = ConnectionError("the round trip was cancelled")
Command = Sequence[Any]  # its name, its arguments
Packed = tuple[str, bytes]  # its name, the packed command


class Batch:
    """Gathers the commands that callers send at the same time, and has `exchange` send them."""

    def __init__(self, exchange: Callable[[list[Packed]], Awaitable[list[Any]]]) -> None:
        self._exchange = exchange
        self._waiting: list[tuple[list[Packed], asyncio.Future[list[Any]]]] = []
        self._senders: set[asyncio.Task[None]] = set()  # each makes one round trip at a time
        self._idle: list[asyncio.Future[None]] = []  # wakes a sender
        self._closed = False

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Replies to these commands. Failures are replies, too, and may be shared by callers."""
        # Packed here, so that a command that cannot be packed affects only its caller.
        packed = [(name, pack_command((name, *rest))) for name, *rest in commands]
        answers: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((packed, answers))
        if len(self._waiting) == 1:
            self._wake_sender()
        return await answers

    async def aclose(self) -> None:
        """Finish the round trips in progress, also those whose callers were cancelled."""
        self._closed = True
        while self._idle:
            self._idle.pop().set_result(None)
        if self._senders:
            await asyncio.wait(self._senders)

    def _wake_sender(self) -> None:
        """Wake or start a sender. It runs in the next iteration, so commands of this one join."""
        if self._idle:
            self._idle.pop().set_result(None)
        elif len(self._senders) < MAX_IN_FLIGHT:
            context = Context()  # otherwise it would keep the first caller's request in memory
            sender = tasks.start(self._run_sender(), "Redis round trips", context)
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard, context=context)

    async def _run_sender(self) -> None:
        while self._waiting or not self._closed:
            if self._waiting:
                await asyncio.sleep(0)  # tasks that are about to run can add their commands
                await self._make_round_trip()
            else:
                self._idle.append(asyncio.get_running_loop().create_future())
                await self._idle[-1]

    async def _make_round_trip(self) -> None:
        batch, self._waiting = self._waiting, []
        if not batch:
            return  # another sender has taken the commands
        commands = [command for part, _ in batch for command in part]
        answers: list[Any] = [CANCELLED] * len(commands)
        try:
            answers = await self._exchange(commands)
        except Exception as error:  # noqa: BLE001 - every caller gets it
            answers = [error] * len(commands)
        finally:  # also if this task is cancelled: no caller may wait forever
            rest = iter(answers)
            for part, done in batch:
                own = list(islice(rest, len(part)))
                if not done.done():
                    done.set_result(own)


async def exchange(client: Any, connection: Any, commands: list[Packed]) -> list[Any]:
    """Send commands over an open connection of redis-py's; returns the replies, errors included.

    redis-py closes a connection when a reply cannot be read; the remaining replies are then errors.
    """
    answers, timeout = list[Any](), connection.socket_timeout
    connection.socket_timeout = None  # a timeout for each reply takes longer than reading it
    try:
        async with asyncio.timeout(timeout):
            await connection.send_packed_command(b"".join([packed for _, packed in commands]))
            for name, _ in commands:
                answers.append(await _read(client, connection, name))
    except TimeoutError:
        await connection.disconnect(nowait=True)
        late = exceptions.TimeoutError(f"no reply within {timeout} s")
        answers += [late] * (len(commands) - len(answers))
    finally:
        connection.socket_timeout = timeout
    return answers


async def _read(client: Any, connection: Any, name: str) -> Any:
    try:
        return await client.parse_response(connection, name)
    except Exception as error:  # noqa: BLE001 - a reply like others; more follow
        return error


class Server(aioredis.Redis):
    """A client of one server at a time, with the same `send` as `Cluster`."""

    SHARDED = False
    PUBLISH = "PUBLISH"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._batch = Batch(self._exchange)
        self.send = self._batch.send

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001
        await self._batch.aclose()
        await super().aclose(close_connection_pool)

    async def _exchange(self, commands: list[Packed]) -> list[Any]:
        connection = await self.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            return await exchange(self, connection, commands)
        finally:
            await self.connection_pool.release(connection)
