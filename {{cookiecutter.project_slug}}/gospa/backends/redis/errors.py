"""Converts errors of redis-py to those of `gospa.errors`."""

import errno
import re
from contextlib import AbstractContextManager
from typing import NamedTuple

from redis import exceptions

from gospa.errors import (
    StoreCorrupt,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    StoreUnreachable,
)
from gospa.trouble import report

LOST = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
_HERE = re.compile(rf"Timeout connecting|Error (?!{errno.ECONNREFUSED} )-?\d+ connecting")


class _Kind(NamedTuple):
    """An error of Redis, matched by type, or by text, because errors of scripts have no type."""

    reason: str
    ours: type[StoreError]
    text: str
    types: tuple[type[Exception], ...] = ()
    words: tuple[str, ...] = ()

    def matches(self, error: Exception, text: str) -> bool:
        return isinstance(error, self.types) or any(word in text for word in self.words)


_AWAY = "Redis cannot serve this now: {}"
_KINDS = (
    # First, because it may contain a room's name, such as "OOM".
    _Kind("store_corrupt", StoreCorrupt, "a key has unexpected contents: {}", (), ("WRONGTYPE",)),
    _Kind(
        "store_read_only",
        StoreReadOnly,
        f"{_AWAY}; REDIS_URL leads to a replica, and has to lead to the primary",
        (exceptions.ReadOnlyError,),
        ("READONLY",),
    ),
    _Kind(
        "store_disk",
        StoreUnavailable,
        f"{_AWAY}; the server cannot write to its disk",
        words=("MISCONF",),
    ),
    _Kind(
        "store_replicas",
        StoreUnavailable,
        f"{_AWAY}; fewer replicas are connected than min-replicas-to-write",
        words=("NOREPLICAS",),
    ),
    _Kind(
        "store_denied",
        StoreUnavailable,
        f"{_AWAY}; correct the user and password in REDIS_URL",
        (exceptions.AuthenticationError,),
        ("NOAUTH", "WRONGPASS"),
    ),
    _Kind(
        "store_denied",
        StoreDenied,
        "Redis refused a command: {}; give the user the rights in docs/redis.md",
        (exceptions.NoPermissionError,),
        ("NOPERM",),
    ),
    _Kind(
        "store_unavailable",
        StoreUnavailable,
        _AWAY,
        (
            *LOST,
            exceptions.ClusterError,
            exceptions.RedisClusterException,
            exceptions.AskError,  # and MovedError: a demoted server that does not know it yet
            exceptions.TryAgainError,
        ),
        # The last is uvloop's text where asyncio raises a ConnectionError.
        ("BUSY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "the handler is closed"),
    ),
    _Kind(
        "store_full",
        StoreFull,
        "Redis is out of memory; raise its maxmemory, or delete data",
        (exceptions.OutOfMemoryError,),
        ("OOM",),
    ),
    _Kind("store_refused", StoreError, "Redis refused a command: {}", FAILURES),
)


def check(answer: object) -> None:
    """Raise a new StoreError if a reply is an error, which several callers may share."""
    if isinstance(answer, Exception):
        raise translate(answer)


class store_errors(AbstractContextManager[None]):  # noqa: N801 - like contextlib's own
    """Turns redis-py's exceptions into ours."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (*FAILURES, RuntimeError)) and (ours := translate(error)) is not error:
            raise ours from error


def translate(error: Exception) -> Exception:
    """The StoreError for an error of redis-py; other exceptions are returned as they are.

    Each is counted, and logged with what to do about it.
    """
    text = str(error)
    if _HERE.search(text):
        kind = _Kind("store_unreachable", StoreUnreachable, "Redis cannot be reached: {}")
    elif text.startswith("CORRUPT"):
        kind = _KINDS[0]
    elif (found := next((each for each in _KINDS if each.matches(error, text)), None)) is not None:
        kind = found
    else:
        return error
    ours = kind.ours(kind.text.format(text.rstrip(".")))
    report(kind.reason, "%s", ours)
    return ours
