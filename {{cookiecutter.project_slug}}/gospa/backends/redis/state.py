"""State in Redis: one hash per room, changed and published by `commit.lua`."""

import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis import exceptions

from gospa.backends import Backend
from gospa.backends.redis.batch import Command
from gospa.backends.redis.client import ask, connect
from gospa.backends.redis.errors import store_errors, translate
from gospa.backends.redis.startup import prepare
from gospa.errors import StoreCorrupt, StoreError, StoreUnavailable
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store import contract
from gospa.store.contract import Change, Commit, Conflict, Refused, Snapshot

SCRIPT = (Path(__file__).parent / "commit.lua").read_bytes()
DIGEST = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()
LOSSES = 3  # conflicts after which a writer locks the room against all others
LOCK = 50  # milliseconds until the lock of a writer that died expires
ATTEMPTS = 2  # a numbered commit whose answer was lost is sent again; it is not applied twice


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

    async def load(self, room: str) -> Snapshot | None:
        key = self._key(room)
        fields, _ = await ask(self._client, ("HGETALL", key), ("PEXPIRE", key, self._ttl))
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
            except StoreError as error:
                if attempt == 1:
                    raise
                # The first may still be on its way to a server that hung, and be applied.
                raise StoreUnavailable(
                    f"it is unknown whether a commit was applied: {error}"
                ) from error
        if status == b"conflict":
            fields = answer[0]
            return Conflict(_snapshot(dict(zip(fields[::2], fields[1::2], strict=True))))
        if status == b"refused":
            return Refused()
        if status == b"repeated":
            return Commit(answer[0], repeated=True)
        return Commit(*answer)

    async def latest_tags(self, rooms: Sequence[str]) -> dict[str, bytes]:
        heads = [("HGET", self._key(room), "t") for room in rooms]
        renewals = [("PEXPIRE", self._key(room), self._ttl) for room in rooms]
        with store_errors():
            answers = await self._client.send([*heads, *renewals])
        found = {
            room: tag or contract.NO_TAG
            for room, tag in zip(rooms, answers, strict=False)
            if not isinstance(tag, Exception)
        }
        if rooms and not found:
            raise translate(answers[0])
        return found

    async def hold_lease(self, lease: str, ttl: float) -> None:
        await ask(self._client, ("SET", self._lease(lease), b"", "PX", round(ttl * 1000)))

    async def expired_leases(self, leases: Sequence[str]) -> list[str]:
        held = await ask(self._client, *(("EXISTS", self._lease(lease)) for lease in leases))
        return [lease for lease, count in zip(leases, held, strict=True) if not count]

    async def names(self) -> AsyncIterator[str]:
        start = f"{self._prefix}{{"
        with store_errors():
            async for key in self._client.scan_iter(f"{start}*}}", count=1000, _type="hash"):
                yield key.decode().removeprefix(start)[:-1]

    async def delete(self, room: str) -> None:
        key = self._key(room)
        await ask(self._client, ("DEL", key), (self._client.PUBLISH, key, b""))

    def _key(self, room: str) -> str:
        return f"{self._prefix}{{{room}}}"  # the same name as its channel

    def _lease(self, lease: str) -> str:
        return f"{self._prefix}{{lease:{lease}}}"

    def _command(self, room: str, change: Change) -> Command:
        key = self._key(room)
        expect = [item or b"" for pair in change.expect.items() for item in pair]
        numbered = [item for m in change.mutations for item in (m.number, _list(m.refused))]
        writes = [item for pair in change.set.items() for item in pair]
        return [
            *("EVALSHA", DIGEST, 2 + len(change.mutations), key, f"{key}:lock"),
            *(f"{key}:{mutation.client.hex()}" for mutation in change.mutations),
            *(key, self._ttl, self._mutation_ttl),
            *(change.tag, *change.message),
            *(self._writer, LOCK if change.attempt >= LOSSES else ""),
            *("1" if change.exists else "0", change.expect_tag or b"", self._client.PUBLISH),
            *numbered,
            *(len(change.expect), *expect, len(change.set), *writes),
            *(len(change.delete), *change.delete),
        ]

    async def _evaluate(self, command: Command) -> list[Any]:
        (answer,) = await self._client.send([command])
        if isinstance(answer, exceptions.NoScriptError):  # the server was restarted or flushed
            (answer,) = await self._client.send([("EVAL", SCRIPT, *command[2:])])
        if isinstance(answer, Exception):
            raise translate(answer)
        answers: list[Any] = answer
        return answers


def _list(numbers: Sequence[int]) -> str:
    """Numbers with a comma before and after each, which the script searches for."""
    return "".join(["," + str(number) for number in numbers]) + ","


def _snapshot(fields: dict[bytes, bytes]) -> Snapshot | None:
    if not fields:
        return None
    version, tag = fields.pop(b"v", b""), fields.pop(b"t", b"")
    if not version.isdigit() or len(tag) != contract.TAG_BYTES:
        raise StoreCorrupt("a room's hash has no version or no tag")
    return Snapshot(int(version), tag, {name[1:].decode(): value for name, value in fields.items()})


STATE = Backend(open_state, shared=True, prepare=prepare)
