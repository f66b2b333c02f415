"""The command `python -m gospa`: shows rooms, sessions and settings, and removes them."""

import argparse
import asyncio
import importlib
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from gospa.app import Backends
from gospa.errors import StoreError
from gospa.sessions.session import Session
from gospa.sessions.store import SessionStore
from gospa.settings import Settings, SettingsError, load_settings
from gospa.store.codec import unpack_fields
from gospa.store.contract import StateStore

Rows = list[dict[str, Any]]


class Problem(Exception):
    """Why the command cannot be done."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores of the application."""

    settings: Settings
    state: StateStore
    sessions: SessionStore
    isolated: Sequence[str]


async def check(stores: Stores, _: argparse.Namespace) -> Rows:
    """Check settings and stores"""
    await stores.sessions.check()
    await stores.state.latest_tags(["ready"])
    rows = [{"what": "settings and stores", "state": "in order"}]
    return rows + [{"what": part, "state": "not shared by workers"} for part in stores.isolated]


async def settings(stores: Stores, _: argparse.Namespace) -> Rows:
    """Show all settings, without passwords"""
    values = msgspec.structs.asdict(stores.settings)
    address = stores.settings.redis_url.partition("?")[0]  # what follows may be a password, too
    values["redis_url"] = re.sub(":[^/@]*@", ":***@", address)
    return [{"setting": name, "value": value} for name, value in values.items()]


async def rooms(stores: Stores, options: argparse.Namespace) -> Rows:
    """List rooms with their sizes; it counts as a visit to each"""
    rows: Rows = []
    for name in sorted([name async for name in stores.state.names()]):
        if name.startswith(options.prefix) and (found := await stores.state.load(name)):
            size = sum(map(len, found.fields.values()))
            row = {"room": name, "version": found.version, "keys": len(found.fields), "bytes": size}
            rows.append(row)
    return rows


async def room(stores: Stores, options: argparse.Namespace) -> Rows:
    """Show what is in a room"""
    snapshot = await stores.state.load(options.name)
    if snapshot is None:
        raise Problem(f"there is no room {options.name}")
    fields = unpack_fields(snapshot.fields)
    return [{"key": key, "value": value} for key, value in sorted(fields.items())]


async def delete(stores: Stores, options: argparse.Namespace) -> Rows:
    """Delete a room; its members see the initial state"""
    if await stores.state.load(options.name) is None:
        raise Problem(f"there is no room {options.name}")
    await stores.state.delete(options.name)
    return [{"room": options.name, "state": "deleted"}]


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


COMMANDS = {
    "check": check,
    "settings": settings,
    "rooms": rooms,
    "room": room,
    "delete-room": delete,
    "sessions": sessions,
    "revoke-sessions": revoke,
}
OF_SESSIONS = ("sessions", "revoke-sessions")


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        backends: Backends = importlib.import_module("app").BACKENDS
        with ExitStack() as held:
            given = backends.prepare(load_settings(os.environ), held)
            rows = asyncio.run(_run(backends, given, options))
    except (SettingsError, StoreError, Problem) as error:
        print(error, file=sys.stderr)
        return 1
    for row in rows:
        print(json.dumps(row, default=str, ensure_ascii=False))
    return 0


async def _run(backends: Backends, given: Settings, options: argparse.Namespace) -> Rows:
    backend = backends.storage if options.command in OF_SESSIONS else backends.state
    if options.command not in ("check", "settings") and not backend.shared:
        raise Problem("this is in the memory of the workers, and no other process can read it")
    async with (
        backends.pubsub.open(given) as pubsub,
        backends.state.open(given, pubsub) as state,
        backends.storage.open(given) as storage,
    ):
        sessions = SessionStore(storage, pubsub, given)
        stores = Stores(given, state, sessions, backends.isolated())
        return await COMMANDS[options.command](stores, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gospa",
        description="Show what the application stores, delete rooms, and end sessions.",
        epilog="Output is one JSON object a line, for programs such as jq.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    added = {
        name: commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        for name, run in COMMANDS.items()
    }
    added["rooms"].add_argument("prefix", nargs="?", default="", help="only names that begin so")
    for name in ("room", "delete-room"):
        added[name].add_argument("name", help="such as poll/lunch")
    added["sessions"].add_argument("user", nargs="?", help="the name that they logged in with")
    whose = added["revoke-sessions"].add_mutually_exclusive_group(required=True)
    whose.add_argument("user", nargs="?", help="the name that they logged in with")
    whose.add_argument("--all", action="store_true", help="of everybody")
    return parser
