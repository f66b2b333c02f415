"""Commands that show and change stored data."""

import argparse
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from gospa.app import Backends
from gospa.cli.rows import Problem, Rows, show
from gospa.environment import variable_of
from gospa.errors import RoomError, StoreCorrupt
from gospa.live.moving import gone, move
from gospa.live.router import Router
from gospa.sessions.session import Session
from gospa.sessions.store import SessionStore
from gospa.settings import Settings
from gospa.storage import Storage
from gospa.store.codec import unpack, unreadable
from gospa.store.contract import StateStore


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores of the application."""

    settings: Settings
    backends: Backends
    state: StateStore
    storage: Storage
    sessions: SessionStore
    router: Router


async def settings(stores: Stores, _: argparse.Namespace) -> Rows:
    """Show all settings, without passwords"""
    values = msgspec.structs.asdict(stores.settings)
    address = stores.settings.redis_url.partition("?")[0]  # the options may have a password as well
    values["redis_url"] = re.sub(":[^/@]*@", ":***@", address)
    del values["application"]  # not a variable
    return [{"setting": variable_of(name), "value": value} for name, value in values.items()]


async def rooms(stores: Stores, options: argparse.Namespace) -> Rows:
    """List rooms with their sizes"""
    rows: Rows = []
    for name in sorted([name async for name in stores.state.names()]):
        if name.startswith(options.prefix):
            rows += await _listed(stores, name)
    return rows


async def _listed(stores: Stores, name: str) -> Rows:
    try:
        found = await stores.state.load(name, renew=False)
    except StoreCorrupt as error:
        return [{"room": name, "state": str(error)}]
    if found is None:
        return []
    size = sum(map(len, found.fields.values()))
    return [{"room": name, "version": found.version, "keys": len(found.fields), "bytes": size}]


async def room(stores: Stores, options: argparse.Namespace) -> Rows:
    """Show what is in a room"""
    snapshot = await stores.state.load(options.name, renew=False)
    if snapshot is None:
        raise Problem(f"there is no room {options.name}")
    bad = unreadable(snapshot.fields)
    fields = {key: bad.get(key) or unpack(raw) for key, raw in sorted(snapshot.fields.items())}
    return [{"key": key, "value": value} for key, value in fields.items()]


async def delete(stores: Stores, options: argparse.Namespace) -> Rows:
    """Delete a room; its members see the defaults"""
    with suppress(StoreCorrupt):  # a corrupt room can be deleted as well
        if await stores.state.load(options.name, renew=False) is None:
            raise Problem(f"there is no room {options.name}")
    await stores.state.delete(options.name)
    return [{"room": options.name, "state": "deleted"}]


async def list_gone(stores: Stores, options: argparse.Namespace) -> Rows:
    """List rooms that no class of this release answers to"""
    return [{"room": key} async for key in gone(stores.state, stores.router, options.prefix)]


async def move_rooms(stores: Stores, options: argparse.Namespace) -> Rows:
    """Move rooms whose class is gone: those whose names begin with one prefix, to another"""
    stayed = 0
    for key in [key async for key in gone(stores.state, stores.router, options.prefix)]:
        to = options.to + key.removeprefix(options.prefix)
        try:
            await move(stores.state, stores.router, key, to)
            show({"room": key, "moved": to})
        except (RoomError, StoreCorrupt) as error:
            stayed += 1
            show({"room": key, "reason": str(error)})
    if stayed:
        raise Problem(f"{stayed} rooms stay where they are")
    return []


async def sessions(stores: Stores, options: argparse.Namespace) -> Rows:
    """List the sessions of a user who logged in, or of everybody"""
    if options.user is None:
        return [_row(record.session) for record in (await stores.sessions.everybody()).values()]
    return [_row(session) for session in await stores.sessions.sessions_of(options.user)]


async def revoke(stores: Stores, options: argparse.Namespace) -> Rows:
    """End all sessions of a user, or of everybody, with their open sockets"""
    if options.all:
        records = await stores.sessions.everybody()
        for record in records.values():
            await stores.sessions.destroy(record)
        ended = list(records)
    else:
        ended = [session.identity for session in await stores.sessions.sessions_of(options.user)]
        await stores.sessions.log_out_everywhere(options.user)
    return [{"session": identity, "state": "ended"} for identity in ended]


def _row(session: Session) -> dict[str, Any]:
    return {
        "session": session.identity,
        "user": session.user,
        "since": _time(session.created),
        "renewed": _time(session.renewed),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
