"""Moves stored rooms to another name, after the class or the pattern of a kind was renamed."""

import os
from collections.abc import AsyncIterator

from gospa.errors import RoomError, UnknownRoom
from gospa.live import wire
from gospa.live.router import Router
from gospa.live.saving import has_save
from gospa.store.alarms import ALARM, read_alarm
from gospa.store.contract import TAG_BYTES, Change, Commit, StateStore


class NotMoved(RoomError):
    """Why a room stays where it is."""


async def gone(store: StateStore, router: Router, prefix: str = "") -> AsyncIterator[str]:
    """The keys of stored rooms that no class of this release answers to."""
    seen = set[str]()
    async for key in store.names():
        if key.startswith(prefix) and key not in seen and not _is_known(router, key):
            seen.add(key)
            yield key


async def move(store: StateStore, router: Router, key: str, to: str) -> None:
    """Store a room whose class is gone under another key, of a class of this release.

    Raises NotMoved if there is a room already, and UnknownRoom if no class answers to the key.
    """
    found, room = await store.load(key, renew=False), router.stored(to)
    if found is None:
        raise NotMoved(f"there is no room {key}")
    if _is_known(router, key):
        raise NotMoved(f"{key} has a class: its members would go on under that name")
    tag = os.urandom(TAG_BYTES)
    change = Change(
        tag=tag,
        exists=False,
        message=wire.patch_parts(room.name, tag, found.fields, ()),
        set=found.fields,
        clocked=has_save(type(room)),
    )
    if alarm := read_alarm(found.fields.get(ALARM)):
        await store.alarms.note(to, alarm)
    if not isinstance(await store.commit(to, change), Commit):
        raise NotMoved(f"there is a room {to} already")
    latest = await store.load(key, renew=False)
    if latest is not None and latest.tag != found.tag:
        await store.delete(to)
        raise NotMoved(f"{key} is still being changed: move it when no old host is left")
    await store.delete(key)


def _is_known(router: Router, key: str) -> bool:
    try:
        router.stored(key)
    except UnknownRoom:
        return False
    return True
