"""State in Redis: one hash per room, changed and published by `commit.lua`."""

import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
from redis import exceptions
from sanic.log import logger

from gospa.backends import Backend
from gospa.backends.redis import inspection
from gospa.backends.redis.alarms import NOW, RedisAlarmIndex
from gospa.backends.redis.batch import Command
from gospa.backends.redis.client import ask, connect, text_of
from gospa.backends.redis.errors import store_errors, translate
from gospa.backends.redis.startup import prepare
from gospa.errors import StoreCorrupt, StoreUnavailable
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store import contract
from gospa.store.alarms import ALARM
from gospa.store.contract import (
    Change,
    Commit,
    Conflict,
    Known,
    Moved,
    Outcome,
    Record,
    Snapshot,
)

SCRIPT = (Path(__file__).parent / "commit.lua").read_bytes()
DIGEST = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()
LOSSES = 3  # conflicts after which a writer locks the room
LOCK = 50  # milliseconds until the lock of a dead writer expires
LAYOUT = 1  # of stored rooms: see commit.lua
RENEW = NOW + (
    "local alarm = redis.call('HGET', KEYS[1], ARGV[2]); "
    "local readable, due = pcall(cmsgpack.unpack, alarm or ''); "
    "local wait = alarm and readable and math.max((tonumber(due) or 0) - now, 0) or 0; "
    "redis.call('PEXPIRE', KEYS[1], (redis.call('HGET', KEYS[1], 'v') or ARGV[1]) + wait)"
)


@asynccontextmanager
async def open_state(settings: Settings, pubsub: PubSub) -> AsyncIterator["RedisStateStore"]:
    """A store for all workers. Commits are published by the script, not by `pubsub`."""
    async with connect(settings) as client:
        yield RedisStateStore(client, settings)


class RedisStateStore:
    """Keeps each room under `<prefix>{<room>}`, in the layout that `commit.lua` describes."""

    def __init__(self, client: Any, settings: Settings) -> None:
        self._client = client
        self._prefix = settings.key_prefix
        self._settings = settings
        self._writer = os.urandom(8).hex()
        self.alarms = RedisAlarmIndex(client, settings.key_prefix)

    async def load(self, room: str, *, renew: bool = True) -> Snapshot | None:
        key = self._key(room)
        renewal = [self._renewal(room)] if renew else []
        fields, *_ = await ask(self._client, ("HGETALL", key), *renewal)
        return _snapshot(fields)

    async def commit(self, room: str, change: Change) -> Outcome:
        status, *answer = await self._evaluate(self._command(room, change))
        match status:
            case b"done":
                return Commit(*answer)
            case b"known":
                return _known(change, *answer)
            case b"conflict":
                values = {key.decode(): value or None for key, value in _pairs(answer[0])}
                return Conflict(values)
            case b"moved":
                return Moved(_snapshot(dict(_pairs(answer[0]))))
            case _:
                error = answer[0].decode(errors="replace")
                raise StoreUnavailable(f"it is unknown whether a commit was applied: {error}")

    async def latest_tags(self, rooms: Sequence[str]) -> dict[str, bytes]:
        heads = [("HGET", self._key(room), "h") for room in rooms]
        renewals = [self._renewal(room) for room in rooms]
        with store_errors():
            answers = await self._client.send([*heads, *renewals])
        found = {
            room: head[-contract.TAG_BYTES :] if head else contract.NO_TAG
            for room, head in zip(rooms, answers, strict=False)
            if not isinstance(head, Exception)
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
                if (name := text_of(key)) is not None:
                    yield name.removeprefix(start)[:-1]

    def damaged(self) -> AsyncIterator[tuple[str, str]]:
        return inspection.damaged(self._client, self._prefix)

    async def delete(self, room: str) -> None:
        key = self._key(room)
        await ask(self._client, ("DEL", key), (self._client.PUBLISH, key, b""))

    def _key(self, room: str) -> str:
        return f"{self._prefix}{{{room}}}"  # the same name as its channel

    def _ttl(self, room: str) -> int:
        return round(contract.lifetime(room, self._settings) * 1000)

    def _renewal(self, room: str) -> Command:
        return ("EVAL", RENEW, 1, self._key(room), self._ttl(room), f".{ALARM}")

    def _lease(self, lease: str) -> str:
        return f"{self._prefix}{{lease:{lease}}}"

    def _command(self, room: str, change: Change) -> Command:
        key = self._key(room)
        expect = [item or b"" for pair in change.expect.items() for item in pair]
        numbered = [
            item
            for m in change.mutations
            for item in (m.first, m.last, round(m.ttl * 1000), " ".join(map(str, m.refused)))
        ]
        epochs = [item for pair in change.expect_epochs.items() for item in pair]
        writes = [item for pair in change.set.items() for item in pair]
        return [
            *("EVALSHA", DIGEST, 2 + len(change.mutations), key, f"{key}:lock"),
            *(f"{key}:{mutation.source}" for mutation in change.mutations),
            *(key, self._ttl(room), change.tag, *change.message),
            *(self._writer, LOCK if change.attempt >= LOSSES else ""),
            *("1" if change.exists else "0", change.expect_tag or b"", self._client.PUBLISH),
            "1" if change.clocked else "",
            round(self._settings.visited_ttl * 1000) if change.visit else "",
            *numbered,
            *(len(change.expect), *expect, len(change.expect_epochs), *epochs),
            *(len(change.set), *writes, len(change.delete), *change.delete),
        ]

    async def _evaluate(self, command: Command) -> list[Any]:
        (answer,) = await self._client.send([command])
        if isinstance(answer, exceptions.NoScriptError):  # the server was restarted or flushed
            (answer,) = await self._client.send([("EVAL", SCRIPT, *command[2:])])
        if isinstance(answer, Exception):
            raise translate(answer)
        answers: list[Any] = answer
        return answers


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _known(change: Change, newest: int, *stored: bytes | None) -> Known:
    """The records of a change's sources.

    The room may have been deleted since: a client must not wait for a version above the newest.
    """
    records = {}
    for mutations, raw in zip(change.mutations, stored, strict=True):
        if raw is not None:
            _, last, version, tag, refused = msgpack.unpackb(raw, raw=True, use_list=False)
            records[mutations.source] = Record(last, min(version, newest), tag, refused)
    return Known(records)


def _snapshot(fields: dict[bytes, bytes]) -> Snapshot | None:
    if not fields:
        return None
    head = fields.pop(b"h", b"")
    fields.pop(b"v", None)
    if len(head) != 1 + 8 + contract.TAG_BYTES or head[0] != LAYOUT:
        raise StoreCorrupt("a room's hash is not of the layout that this release reads")
    values, epochs = dict[str, bytes](), dict[str, bytes]()
    for name, value in fields.items():
        try:
            (values if name[:1] == b"." else epochs)[name[1:].decode()] = value
        except UnicodeDecodeError:
            logger.warning("a room has the field %r, which is not text; it is skipped", name)
    return Snapshot(int.from_bytes(head[1:9]), head[9:], values, epochs)


STATE = Backend(open_state, shared=True, prepare=prepare)
