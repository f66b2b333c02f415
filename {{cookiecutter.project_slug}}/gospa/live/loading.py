"""Loads a room in this release's version: creates it with `load`, converts it with `migrate`."""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from msgspec.structs import replace
from sanic.log import logger

from gospa.action import finish
from gospa.errors import SchemaMismatch, StoreCorrupt
from gospa.live import wire
from gospa.live.limits import ALLOWANCE
from gospa.live.saving import has_save
from gospa.live.single_flight import SingleFlight
from gospa.room import Room
from gospa.state import values_of
from gospa.store import schema
from gospa.store.alarms import ALARM, read_alarm, timed
from gospa.store.codec import pack, unpack, unreadable
from gospa.store.content import ENGINE, collection_of, published
from gospa.store.contract import ABSENT, TAG_BYTES, Change, Snapshot, StateStore


class _Hook:
    """A `load` of a room that runs."""

    def __init__(self, key: str) -> None:
        self.key, self.running = key, True


_HOOKS: ContextVar[tuple[_Hook, ...]] = ContextVar("hooks", default=())  # that this code is part of
_CREATIONS: WeakKeyDictionary[StateStore, SingleFlight[bool]] = WeakKeyDictionary()


async def load(store: StateStore, key: str, room: Room[Any]) -> Snapshot:
    """The room as stored, ABSENT without a state.

    What `load` gives and what `migrate` changes are commits: of several workers that come at once,
    one is first, and the others load what it stored. Those that come at once in this worker share
    one call of `load`. Raises StoreError, SchemaMismatch for a room of a newer release, RateLimited
    for a visitor who may create no more, and what the hooks raise.
    """
    while True:
        found = await store.load(key) or ABSENT
        if found.version:
            if ALARM in found.fields:
                await _note_alarm(store, key, found.fields[ALARM])
            fields = _migrated(room, found)
            if fields is None:
                return replace(found, fields=published(found.fields))
            await _commit(store, key, room, found, fields)
        elif type(room).load is Room.load or not await _created(store, key, room):
            return found


async def stop_loading(store: StateStore) -> None:
    """Cancel the calls of `load`: the worker stops."""
    if creations := _CREATIONS.get(store):
        await creations.stop()


def require_outside(key: str, room: str) -> None:
    """Raise RuntimeError in a `load` of this room: it would wait for itself."""
    if any(hook.running and hook.key == key for hook in _HOOKS.get()):
        raise RuntimeError(
            f"load() of {room} uses this very room, which waits for load() to end: "
            "return the state that it begins with"
        )


async def _created(store: StateStore, key: str, room: Room[Any]) -> bool:
    """Whether `load` gave a state, which is stored now, or that of another worker."""
    require_outside(key, room.name)
    if (creations := _CREATIONS.get(store)) is None:
        creations = _CREATIONS[store] = SingleFlight("load() of")
    return await creations.run(key, partial(_create, store, key, room))


async def _create(store: StateStore, key: str, room: Room[Any]) -> bool:
    hook = _Hook(key)
    _HOOKS.set((*_HOOKS.get(), hook))  # of this task
    try:
        fields = await _first(room)
    finally:
        hook.running = False
    if fields is not None:
        if allowance := ALLOWANCE.get():
            allowance.create_room()
        await _commit(store, key, room, ABSENT, fields)
    return fields is not None


async def _note_alarm(store: StateStore, key: str, raw: bytes) -> None:
    """Add the alarm of a room to the index, which is on another server and may have lost it."""
    if alarm := read_alarm(raw):
        await store.alarms.note(key, alarm)
    else:
        logger.error("the alarm of room %s cannot be read, and does not run", key)


async def _commit(
    store: StateStore, key: str, room: Room[Any], found: Snapshot, fields: Mapping[str, bytes]
) -> None:
    """Store these fields, unless another worker has stored the room."""
    new = {k: raw for k, raw in fields.items() if found.fields.get(k) != raw}
    changed = await timed(store.alarms, key, new)
    deleted = [k for k in found.fields if k not in fields]
    tag = os.urandom(TAG_BYTES)
    change = Change(
        tag=tag,
        exists=found.version > 0,
        message=wire.patch_parts(room.name, tag, changed, deleted),
        set=changed,
        delete=deleted,
        expect_tag=found.tag if found.version else None,
        clocked=has_save(type(room)),
        visit=True,
    )
    await store.commit(key, change)


async def _first(room: Room[Any]) -> dict[str, bytes] | None:
    """What a new room begins with, or None for the defaults."""
    state = await room.load()
    if state is None:
        return None
    finish(room, state)
    fields = values_of(state).draft.edits().set
    return {**fields, **schema.encoded(room.version)} if fields else None


def _migrated(room: Room[Any], found: Snapshot) -> dict[str, bytes] | None:
    """The fields in the room's version, or None if they are."""
    fields = new_shape(room, found.fields)
    if fields is not None:
        old = schema.version_of(found.fields)
        logger.info("migrating room %s from version %d to %d", room.name, old, room.version)
        kept = unreadable(found.fields)  # and logged by who follows the room
        if misfits := misfitting(room, {k: v for k, v in fields.items() if k not in kept}):
            raise StoreCorrupt(f"after migrate, {misfits[0]}")
    return fields


def new_shape(room: Room[Any], stored: Mapping[str, bytes]) -> dict[str, bytes] | None:
    """What `migrate` makes of stored fields, None if they are in the room's version.

    Values that cannot be read are not passed to it, and stay as they are.
    Raises SchemaMismatch for those of a newer release, and what `migrate` raises.
    """
    version = schema.version_of(stored)
    if version == room.version:
        return None
    if version > room.version:
        raise SchemaMismatch(f"{room.name} is stored in version {version}, of a newer release")
    kept = unreadable(stored)
    own = {key: raw for key, raw in stored.items() if key.startswith(ENGINE) or key in kept}
    values = {key: unpack(raw) for key, raw in stored.items() if key not in own}
    room.migrate(values, version)
    fields = {key: pack(value) for key, value in values.items()}
    return {**own, **fields, **schema.encoded(room.version)}


def misfitting(room: Room[Any], fields: Mapping[str, bytes]) -> list[str]:
    """The problems of stored fields that do not fit the room's class; unknown keys are unused."""
    known, problems = room.state.schema(), []
    for key, raw in fields.items():
        if name := collection_of(key):
            kind = known.collections[name].item_type if name in known.collections else None
        else:
            kind = known.fields[key].type if key in known.fields else None
        if kind is not None:
            try:
                kind.decode(raw, key)
            except StoreCorrupt as error:
                problems.append(str(error))
    return problems
