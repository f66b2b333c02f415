"""Errors of redis-py in the terms of `gospa.errors`."""

from contextlib import AbstractContextManager

from redis import exceptions

from gospa.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable

LOST = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
_UNAVAILABLE = (
    *LOST,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
    exceptions.ReadOnlyError,
    exceptions.AskError,  # and MovedError: a server that was demoted and does not know it
    exceptions.TryAgainError,
)
# Replies of a server that is alive but cannot serve this now. Those to a script have no type.
_TRANSIENT = (
    *("BUSY", "LOADING", "MASTERDOWN", "READONLY", "MISCONF", "NOREPLICAS", "CLUSTERDOWN"),
    "the handler is closed",  # uvloop's text where asyncio raises a ConnectionError
)


def check(answer: object) -> None:
    """Raise StoreError if a reply is an error. The error may be shared, so it is not raised."""
    if isinstance(answer, Exception):
        raise translate(answer)


class store_errors(AbstractContextManager[None]):  # noqa: N801 - like contextlib's own
    """Turns redis-py's exceptions into ours."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (*FAILURES, RuntimeError)) and (ours := translate(error)) is not error:
            raise ours from error


def translate(error: Exception) -> Exception:
    """The StoreError for an error of redis-py; other exceptions are returned as they are."""
    text = str(error)
    if "WRONGTYPE" in text or text.startswith("CORRUPT"):  # first: it may name a room like "OOM"
        return StoreCorrupt(f"a key has unexpected contents: {text}")
    if isinstance(error, _UNAVAILABLE) or any(words in text for words in _TRANSIENT):
        return StoreUnavailable(f"Redis cannot serve this now: {text}")
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM" in text:
        return StoreFull("Redis is out of memory")
    return StoreError(f"Redis refused a command: {text}") if isinstance(error, FAILURES) else error
