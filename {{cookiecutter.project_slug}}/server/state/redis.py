"""State in Redis: one hash per room, changed and published by `commit.lua`."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis import exceptions

from server import background
from server.errors import StoreCorrupt, StoreUnavailable
from server.pubsub import PubSub
from server.redis import connect, prepare, store_errors, translate
from server.settings import Settings
from server.state import store
from server.state.store import Change, Commit, Conflict, Refused, Snapshot, channel

__all__ = ["SHARED", "RedisStateStore", "open_state", "prepare"]

SHARED = True
SCRIPT = (Path(__file__).parent / "commit.lua").read_bytes()
DIGEST = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()
LOSSES = 3  # after so many, a writer gets the turn: the others lose until it has committed
TURN = 50  # milliseconds, for a writer that dies with it
ATTEMPTS = 2  # a numbered commit whose answer was lost is sent again: it is not applied twice

_Command = Sequence[Any]


@asynccontextmanager
async def open_state(settings: Settings, pubsub: PubSub) -> AsyncIterator["RedisStateStore"]:
    """A store for all workers. Commits are published by the script, not by `pubsub`."""
    async with connect(settings) as client:
        yield RedisStateStore(client, settings)


class RedisStateStore:
    """Keeps each room under `<prefix>{<room>}`: field `v` version, `t` tag, `.<key>` values."""

    def __init__(self, client: Any, settings: Settings) -> None:
        self._client = client
        self._prefix = settings.key_prefix
        self._ttl = round(settings.room_ttl * 1000)
        self._mutation_ttl = round(settings.mutation_ttl * 1000)
        self._writer = os.urandom(8).hex()
        self._pending: list[tuple[_Command, asyncio.Future[Any]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def load(self, room: str) -> Snapshot | None:
        fields, _ = await self._ask(
            ("HGETALL", self._key(room)), ("PEXPIRE", self._key(room), self._ttl)
        )
        return _snapshot(fields)

    async def commit(self, room: str, change: Change) -> Commit | Conflict | Refused:
        command = self._command(room, change)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                status, *answer = await self._evaluate(command)
                break
            except StoreUnavailable:
                if attempt == ATTEMPTS or not change.mutations:
                    raise
        if status == b"conflict":
            fields = answer[0]
            return Conflict(_snapshot(dict(zip(fields[::2], fields[1::2], strict=True))))
        if status == b"refused":
            return Refused()
        if status == b"repeated":
            return Commit(answer[0], repeated=True)
        return Commit(*answer)

    async def heads(self, rooms: Sequence[str]) -> dict[str, bytes]:
        heads = [("HGET", self._key(room), "t") for room in rooms]
        renewals = [("PEXPIRE", self._key(room), self._ttl) for room in rooms]
        with store_errors():
            answers = await self._client.send([*heads, *renewals])
        told = {
            room: tag or store.NO_TAG
            for room, tag in zip(rooms, answers, strict=False)
            if not isinstance(tag, Exception)
        }
        if rooms and not told:
            raise translate(answers[0])
        return told

    async def renew(self, lease: str, ttl: float) -> None:
        await self._ask(("SET", self._lease(lease), b"", "PX", round(ttl * 1000)))

    async def lapsed(self, leases: Sequence[str]) -> list[str]:
        held = await self._ask(*(("EXISTS", self._lease(lease)) for lease in leases))
        return [lease for lease, count in zip(leases, held, strict=True) if not count]

    async def names(self) -> AsyncIterator[str]:
        start = f"{self._prefix}{{"
        with store_errors():
            async for key in self._client.scan_iter(f"{start}*}}", count=1000, _type="hash"):
                yield key.decode().removeprefix(start)[:-1]

    async def delete(self, room: str) -> None:
        key = self._key(room)
        await self._ask(("DEL", key), (self._client.PUBLISH, key, b""))

    async def _ask(self, *commands: _Command) -> list[Any]:
        """The answers to commands that are sent together."""
        with store_errors():
            answers: list[Any] = await self._client.send(commands)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def _key(self, room: str) -> str:
        return self._prefix + channel(room)

    def _lease(self, lease: str) -> str:
        return f"{self._prefix}{{lease:{lease}}}"

    def _command(self, room: str, change: Change) -> _Command:
        key = self._key(room)
        expect = [item or b"" for pair in change.expect.items() for item in pair]
        numbered = [item for m in change.mutations for item in (m.number, _list(m.refused))]
        writes = [item for pair in change.set.items() for item in pair]
        return [
            *("EVALSHA", DIGEST, 2 + len(change.mutations), key, f"{key}:turn"),
            *(f"{key}:{mutation.client.hex()}" for mutation in change.mutations),
            *(key, self._ttl, self._mutation_ttl),
            *(change.tag, *change.frame),
            *(self._writer, TURN if change.attempt >= LOSSES else ""),
            *("1" if change.exists else "0", change.expect_tag or b"", self._client.PUBLISH),
            *numbered,
            *(len(change.expect), *expect, len(change.set), *writes),
            *(len(change.delete), *change.delete),
        ]

    async def _evaluate(self, command: _Command) -> list[Any]:
        """Run the script. Calls made in one step of the event loop share a round trip."""
        done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._pending.append((command, done))
        if len(self._pending) == 1:
            task = background.start(self._send(), "commits")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return await done

    async def _send(self) -> None:
        await asyncio.sleep(0)  # until the other tasks of this step have added theirs
        batch, self._pending = self._pending, []
        try:
            answers = await self._execute([command for command, _ in batch])
        except Exception as error:  # noqa: BLE001 - passed on: somebody waits for each answer
            answers = [error] * len(batch)
        for (_, done), answer in zip(batch, answers, strict=True):
            if done.done():
                continue
            if isinstance(answer, Exception):
                done.set_exception(translate(answer))
            else:
                done.set_result(answer)

    async def _execute(self, commands: list[_Command]) -> list[Any]:
        answers: list[Any] = await self._client.send(commands)
        forgotten = [i for i, a in enumerate(answers) if isinstance(a, exceptions.NoScriptError)]
        if forgotten:  # by a server that was restarted or flushed; it learns the script by EVAL
            again = await self._client.send([["EVAL", SCRIPT, *commands[i][2:]] for i in forgotten])
            for i, answer in zip(forgotten, again, strict=True):
                answers[i] = answer
        return answers


def _list(numbers: Sequence[int]) -> str:
    """Numbers with a comma before and after each, so that one is found by searching."""
    return "".join(["," + str(number) for number in numbers]) + ","


def _snapshot(fields: dict[bytes, bytes]) -> Snapshot | None:
    if not fields:
        return None
    version, tag = fields.pop(b"v", b""), fields.pop(b"t", b"")
    if not version.isdigit() or len(tag) != store.TAG_BYTES:
        raise StoreCorrupt("a room's hash has no version or no tag")
    return Snapshot(int(version), tag, {name[1:].decode(): value for name, value in fields.items()})
