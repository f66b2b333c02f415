"""Finds unreadable records of rooms, other than rooms of another layout: see `commit.lua`."""

from collections.abc import AsyncIterator
from typing import Any

import msgpack
from redis import exceptions

from gospa.backends.redis.batch import Command
from gospa.backends.redis.errors import check, store_errors
from gospa.tasks import batches


async def damaged(client: Any, prefix: str) -> AsyncIterator[tuple[str, str]]:
    """Each key without the prefix, and the reason."""
    with store_errors():
        keys = [key async for key in client.scan_iter(f"{prefix}{{*", count=1000)]
    for batch in batches(keys):
        names = [key[len(prefix) :] for key in batch]
        commands = [_read(key, name) for key, name in zip(batch, names, strict=True)]
        with store_errors():
            answers = await client.send(commands)
        for name, answer in zip(names, answers, strict=True):
            if reason := _problem(name, answer):
                yield name.decode(errors="backslashreplace"), reason


def _read(key: bytes, name: bytes) -> Command:
    is_room = name.endswith(b"}") and not name.startswith(b"{lease:")
    return ("HGET", key, "h") if is_room else ("GET", key)


def _problem(name: bytes, answer: Any) -> str:
    """The problem of a record, or an empty text. Raises StoreError."""
    if isinstance(answer, exceptions.ResponseError) and "WRONGTYPE" in str(answer):
        return "it is not of the type that this release stores there"
    check(answer)
    try:
        name.decode()
    except UnicodeDecodeError:
        return "its name is not text"
    source = name.partition(b"}:")[2]
    if not source or source == b"lock" or answer is None or _is_record(answer):
        return ""
    return "it is not of the layout that this release reads"


def _is_record(raw: bytes) -> bool:
    try:
        match msgpack.unpackb(raw, raw=True):
            case [1, int(), int(), bytes(), list()]:
                return True
    except (ValueError, msgpack.UnpackException):
        pass
    return False
