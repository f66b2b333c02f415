"""Finds records in the session storage that this release cannot read."""

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from gospa.errors import StoreCorrupt
from gospa.sessions import index, rooms, session
from gospa.storage import Storage

Finding = dict[str, Any]


class Kind(NamedTuple):
    """Records whose keys begin with `prefix`."""

    what: str
    prefix: str
    problem: Callable[[str, bytes], str]
    """Given the rest of the key and the bytes: the problem, or an empty text."""
    remedy: str


async def inspect_records(storage: Storage, kind: Kind) -> AsyncIterator[Finding | None]:
    """A report on each record of a kind; None for one that can be read.

    This changes nothing. Raises StoreError.
    """
    seen = set[str]()
    async for key in storage.keys(kind.prefix):
        if key in seen:
            continue
        seen.add(key)
        try:
            raw = await storage.get(key)
            reason = kind.problem(key.removeprefix(kind.prefix), raw) if raw is not None else ""
        except StoreCorrupt as error:
            reason = str(error)
        finding = {"what": kind.what, "key": key, "reason": reason, "remedy": kind.remedy}
        yield finding if reason else None


def _of_session(identity: str, raw: bytes) -> str:
    found = session.decode(raw)
    if found is None:
        return "it is not a session as this release stores them"
    if found.identity != identity:
        return f"it is the session of another identity, {found.identity!r}"
    return "; ".join(f"the value {key!r}: {why}" for key, why in found.unreadable.items())


def _of_user(_: str, raw: bytes) -> str:
    index.decode(raw)
    return ""


def _of_rooms(_: str, raw: bytes) -> str:
    return "" if rooms.decode(raw) is not None else "it is not a list of names"


KINDS = (
    Kind(
        "session",
        "session:",
        _of_session,
        "none is needed: a value that cannot be read is left out, and a session that cannot be "
        "read counts as ended and expires",
    ),
    Kind(
        "index of a user's sessions",
        "user:",
        _of_user,
        "delete the key: until then this user cannot log in. The sessions in it can then be ended "
        "by `python -m gospa revoke-sessions --all` only",
    ),
    Kind(
        "list of a session's rooms",
        "rooms:",
        _of_rooms,
        "none is needed: these rooms are deleted when their time to live ends",
    ),
    Kind(
        "value of the application's own",
        "own:",
        lambda _, __: "",
        "delete the key, or restore it from a backup",
    ),
)
