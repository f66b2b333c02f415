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
from server.cluster import FAILURES
from server.errors import StoreCorrupt, StoreUnavailable
from server.pubsub import PubSub
from server.redis import connect, is_cluster, prepare, store_errors, translate
from server.settings import Settings
from server.state.store import (
    NO_TAG,
    TAG_BYTES,
    Change,
    Commit,
    Conflict,
    Head,
    Refused,
    Snapshot,
    channel,
)

__all__ = ["SHARED", "RedisStateStore", "open_state", "prepare"]

SHARED = True
SCRIPT = (Path(__file__).parent / "commit.lua").read_bytes()
DIGEST = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()
LOSSES = 3  # after so many, a writer gets the turn: the others lose until it has committed
TURN = 50  # milliseconds, for a writer that dies with it
ATTEMPTS = 2  # a numbered commit whose answer was lost is sent again: it is not applied twice

_Pending = tuple[list[Any], asyncio.Future[Any]]


@asynccontextmanager
async def open_state(settings: Settings, pubsub: PubSub) -> AsyncIterator["RedisStateStore"]:
    """A store for all workers. Commits are published by the script, not by `pubsub`."""
    async with connect(settings) as client:
        publish = "SPUBLISH" if is_cluster(settings) else "PUBLISH"
        ttls = settings.room_ttl, settings.mutation_ttl
        yield RedisStateStore(client, settings.key_prefix, *ttls, publish)


class RedisStateStore:
    """Keeps each room under `<prefix>{<room>}`: field `v` version, `t` tag, `.<key>` values."""

    def __init__(
        self, client: Any, prefix: str, ttl: float, mutation_ttl: float, publish: str = "PUBLISH"
    ) -> None:
        self._client = client
        self._publish = publish
        self._prefix = prefix
        self._ttl = round(ttl * 1000)
        self._mutation_ttl = round(mutation_ttl * 1000)
        self._writer = os.urandom(8).hex()
        self._pending: list[_Pending] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def load(self, room: str) -> Snapshot | None:
        with store_errors():
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.hgetall(self._key(room))
                pipeline.pexpire(self._key(room), self._ttl)
                fields, _ = await pipeline.execute()
        return _snapshot(fields)

    async def commit(self, room: str, change: Change) -> Commit | Conflict | Refused:
        arguments = self._arguments(room, change)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                status, *answer = await self._evaluate(arguments)
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

    async def heads(self, rooms: Sequence[str]) -> dict[str, Head | None]:
        keys = [self._key(room) for room in rooms]
        asked = [["HMGET", key, "v", "t"] for key in keys]
        kept = [["PEXPIRE", key, self._ttl] for key in keys]
        answers = (await self._pipeline([*asked, *kept]))[: len(keys)]
        told = {r: a for r, a in zip(rooms, answers, strict=True) if not isinstance(a, Exception)}
        if rooms and not told:
            raise translate(answers[0])
        return {room: Head(int(v), t) if v and t else None for room, (v, t) in told.items()}

    async def renew(self, lease: str, ttl: float) -> None:
        with store_errors():
            await self._client.set(self._lease(lease), b"", px=round(ttl * 1000))

    async def lapsed(self, leases: Sequence[str]) -> list[str]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for lease in leases:
                pipeline.exists(self._lease(lease))
            with store_errors():
                held = await pipeline.execute()
        return [lease for lease, count in zip(leases, held, strict=True) if not count]

    async def names(self) -> AsyncIterator[str]:
        start = f"{self._prefix}{{"
        with store_errors():
            async for key in self._client.scan_iter(f"{start}*}}", count=1000, _type="hash"):
                yield key.decode().removeprefix(start)[:-1]

    async def delete(self, room: str) -> None:
        with store_errors():
            await self._client.delete(self._key(room))
            await self._client.execute_command(self._publish, self._key(room), b"")

    def _key(self, room: str) -> str:
        return self._prefix + channel(room)

    def _lease(self, lease: str) -> str:
        return f"{self._prefix}{{lease:{lease}}}"

    def _arguments(self, room: str, change: Change) -> list[Any]:
        key = self._key(room)
        expect = [item or b"" for pair in change.expect.items() for item in pair]
        numbered = [item for m in change.mutations for item in (m.number, _list(m.refused))]
        writes = [item for pair in change.set.items() for item in pair]
        return [
            *("EVALSHA", DIGEST, 2 + len(change.mutations), key, f"{key}:turn"),
            *(f"{key}:{mutation.client.hex()}" for mutation in change.mutations),
            *(self._prefix + channel(room), self._ttl, self._mutation_ttl),
            *(change.tag, *change.frame),
            *(self._writer, TURN if change.attempt >= LOSSES else ""),
            *("1" if change.exists else "0", change.expect_tag or b"", self._publish),
            *numbered,
            *(len(change.expect), *expect, len(change.set), *writes),
            *(len(change.delete), *change.delete),
        ]

    async def _evaluate(self, arguments: list[Any]) -> list[Any]:
        """Run the script. Calls made in one step of the event loop share a round trip."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append((arguments, done))
        if len(self._pending) == 1:
            task = background.start(self._send(), "commits")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        answer: list[Any] = await done
        return answer

    async def _send(self) -> None:
        await asyncio.sleep(0)  # until the other tasks of this step have added theirs
        batch, self._pending = self._pending, []
        try:
            answers = await self._execute([arguments for arguments, _ in batch])
        except Exception as error:  # noqa: BLE001 - passed on: somebody waits for each answer
            answers = [error] * len(batch)
        for (_, done), answer in zip(batch, answers, strict=True):
            if done.done():
                continue
            if isinstance(answer, FAILURES):
                done.set_exception(translate(answer))
            elif isinstance(answer, Exception):
                done.set_exception(answer)
            else:
                done.set_result(answer)

    async def _execute(self, commands: list[list[Any]]) -> list[Any]:
        answers = await self._pipeline(commands)
        forgotten = [i for i, a in enumerate(answers) if isinstance(a, exceptions.NoScriptError)]
        if forgotten:  # by a server that was restarted or flushed; it learns the script by EVAL
            again = await self._pipeline([["EVAL", SCRIPT, *commands[i][2:]] for i in forgotten])
            for i, answer in zip(forgotten, again, strict=True):
                answers[i] = answer
        return answers

    async def _pipeline(self, commands: list[list[Any]]) -> list[Any]:
        with store_errors():
            async with self._client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers


def _list(numbers: Sequence[int]) -> str:
    """Numbers with a comma before and after each, so that one is found by searching."""
    return "".join(["," + str(number) for number in numbers]) + ","


def _snapshot(fields: dict[bytes, bytes]) -> Snapshot | None:
    if not fields:
        return None
    version, tag = fields.pop(b"v", b""), fields.pop(b"t", NO_TAG)
    if not version.isdigit() or len(tag) != TAG_BYTES:
        raise StoreCorrupt("a room's hash has no version or no tag")
    return Snapshot(int(version), tag, {name[1:].decode(): value for name, value in fields.items()})
