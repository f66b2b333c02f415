"""Checks whether this release can read the stored rooms, before it is deployed."""

import shlex
from collections.abc import AsyncIterator, Mapping
from typing import Any

from gospa.errors import SchemaMismatch, StoreCorrupt, UnknownRoom
from gospa.live import visit_records
from gospa.live.loading import misfitting, new_shape
from gospa.live.router import Router
from gospa.room import Room
from gospa.store import schema
from gospa.store.codec import CodecError, unpack_fields, unreadable
from gospa.store.contract import Snapshot, StateStore

Finding = dict[str, Any]

GIVE_UP = "give the room up: `python -m gospa delete-room {key}`"
GONE = (
    "go back to a release with its class, move it with `python -m gospa move-rooms`, or " + GIVE_UP
)
NEWER = "serve it with the release that stored it, or a later one, or " + GIVE_UP
DAMAGED = "restore it from a backup, or " + GIVE_UP
MISFIT = (
    "correct the class, its `version` or its `migrate`; if the value is damaged, restore it. Or "
    + GIVE_UP
)
DELETE_KEY = "delete the key, or restore it from a backup; until then what needs it is refused"


async def inspect_rooms(store: StateStore, router: Router) -> AsyncIterator[Finding | None]:
    """A finding for each stored room; None for one that this release reads as it is.

    A finding has the room's key, and the reason why it does not fit, with the remedy. For a room of
    an older version it has the two versions, and what `migrate` sets and deletes; without a reason,
    the room fits. Findings on other unreadable records of rooms follow.

    This changes nothing, and keeps no room from expiring. Raises StoreError.
    """
    seen = set[str]()
    async for key in store.names():
        if key not in seen:
            seen.add(key)
            yield await _inspect(store, router, key)
    async for key, reason in store.damaged():
        if key not in seen:
            seen.add(key)
            yield {"what": "record of a room", "key": key, "reason": reason, "remedy": DELETE_KEY}


async def _inspect(store: StateStore, router: Router, key: str) -> Finding | None:
    try:
        found = await store.load(key, renew=False)
        return None if found is None else _finding(router.stored(key), key, found)
    except UnknownRoom as error:
        return _misfit(key, [str(error)], GONE)
    except SchemaMismatch as error:
        return _misfit(key, [str(error)], NEWER)
    except (StoreCorrupt, CodecError) as error:
        return _misfit(key, [str(error)], DAMAGED)


def _misfit(key: str, reasons: list[str], remedy: str) -> Finding:
    reason, told = "; ".join(reasons), remedy.format(key=shlex.quote(key))
    return {"what": "room", "key": key, "reason": reason, "remedy": told}


def _finding(room: Room[Any], key: str, found: Snapshot) -> Finding | None:
    """Raises SchemaMismatch for a room of a newer version, and CodecError."""
    stored, version = found.fields, schema.version_of(found.fields)
    if version == room.version:
        problems = _problems(room, stored)
        return _misfit(key, problems, MISFIT) if problems else None
    try:
        fields = new_shape(room, stored) or {}
    except SchemaMismatch:
        raise
    except Exception as error:  # noqa: BLE001 - what the room's hook raises
        return _misfit(key, [f"migrate from version {version} failed: {error!r}"], MISFIT)
    bad = unreadable(fields)
    changed = {
        k: v for k, v in fields.items() if stored.get(k) != v and k not in (schema.KEY, *bad)
    }
    problems = _problems(room, fields)
    return {
        **(_misfit(key, problems, MISFIT) if problems else {"what": "room", "key": key}),
        "from_version": version,
        "to_version": room.version,
        "set": unpack_fields(changed),
        "deleted": [k for k in stored if k not in fields],
    }


def _problems(room: Room[Any], fields: Mapping[str, bytes]) -> list[str]:
    """The problems of a room's values that cannot be read, visits included."""
    problems = misfitting(room, fields)
    named = " ".join(problems)
    others = {k: why for k, why in unreadable(fields).items() if k not in named}
    visits = [
        id
        for id in visit_records.unreadable(fields)
        if f"{visit_records.VISITS}/{id}" not in others
    ]
    return [
        *problems,
        *(f"the stored value of {key} cannot be read: {why}" for key, why in others.items()),
        *(f"the visit of member {id} cannot be read" for id in visits),
    ]
