"""The index of alarms in Redis: sorted sets of rooms by time, spread over the shards of a cluster.

`<prefix>alarms:<n>` has the members `<due>:<room>`, with the time of the next check as score. The
key has no braces, so it cannot be the key of a room.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from gospa.backends.redis.batch import Command
from gospa.backends.redis.client import ask
from gospa.backends.redis.errors import store_errors, translate
from gospa.store.alarms import ALARM, EARLY, GRAIN, Due, Entry, read_alarm

SETS = 8
FAILED = object()  # instead of an answer
NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000); "
# ARGV: the room, when its alarm is due, GRAIN, EARLY. See `gospa.store.alarms.look_at`.
NOTE = NOW + (
    "local room, due, grain, early = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]; "
    "if due <= 0 then due = math.ceil((now - due) / grain) * grain end; "  # given as a wait
    "local step, at = grain, due; "
    "while 2 * step * early <= due - now do step = 2 * step; at = due - due % step end; "
    "redis.call('ZADD', KEYS[1], 'NX', at, string.format('%.0f:%s', at, room)); "
    "return due"
)
DUE = NOW + "return {now, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])}"


class RedisAlarmIndex:
    """Keeps entries in SETS sorted sets."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    async def add(self, room: str, wait: int) -> int:
        return await self._note(room, -wait)

    async def note(self, room: str, due: int) -> None:
        await self._note(room, due)

    async def due(self, most: int) -> Due:
        keys = [self._set(number) for number in range(SETS)]
        found = await self._answers([("EVAL", DUE, 1, key, most) for key in keys])
        answers = [answer for answer in found if answer is not FAILED]
        entries = [_entry(member) for _, members in answers for member in members]
        # Servers' clocks may differ: the clock of its own server decides when an entry is due.
        return Due(max(now for now, _ in answers), entries)

    async def stored(self, rooms: Sequence[str]) -> dict[str, int | None]:
        looks = [("HGET", f"{self._prefix}{{{room}}}", f".{ALARM}") for room in rooms]
        found = await self._answers(looks) if rooms else []
        answers = zip(rooms, found, strict=True)
        return {room: read_alarm(raw) for room, raw in answers if raw is not FAILED}

    async def put_off(self, entries: Mapping[Entry, int]) -> None:
        moves = [
            ("ZADD", self._key(entry.room), "XX", time, _member(entry))
            for entry, time in entries.items()
        ]
        await ask(self._client, *moves)

    async def remove(self, entries: Sequence[Entry]) -> None:
        removals = [("ZREM", self._key(entry.room), _member(entry)) for entry in entries]
        await ask(self._client, *removals)

    async def _note(self, room: str, due: int) -> int:
        command = ("EVAL", NOTE, 1, self._key(room), room, due, GRAIN, EARLY)
        (noted,) = await ask(self._client, command)
        return int(noted)

    async def _answers(self, commands: Sequence[Command]) -> list[Any]:
        """The answers, FAILED if a server failed. Raises StoreError if all of them failed."""
        with store_errors():
            answers = await self._client.send(commands)
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if len(errors) == len(commands):
            raise translate(errors[0])
        return [FAILED if isinstance(answer, Exception) else answer for answer in answers]

    def _key(self, room: str) -> str:
        return self._set(crc32(room.encode()) % SETS)

    def _set(self, number: int) -> str:
        return f"{self._prefix}alarms:{number}"


def _member(entry: Entry) -> str:
    return f"{entry.due}:{entry.room}"


def _entry(member: bytes) -> Entry:
    due, _, room = member.decode().partition(":")
    return Entry(room, int(due))
