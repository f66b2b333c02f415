"""Looks at what the application keeps, and puts it right: rooms, sessions, settings."""

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
    """What the command cannot do, for people to read."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the application keeps, open."""

    settings: Settings
    state: StateStore
    sessions: SessionStore
    isolated: Sequence[str]


async def check(kept: Kept, _: argparse.Namespace) -> Rows:
    """Check settings and stores"""
    await kept.sessions.check()
    await kept.state.heads(["ready"])
    rows = [{"what": "settings and stores", "state": "in order"}]
    return rows + [{"what": part, "state": "not shared by workers"} for part in kept.isolated]


async def settings(kept: Kept, _: argparse.Namespace) -> Rows:
    """Show all settings, without passwords"""
    values = msgspec.structs.asdict(kept.settings)
    address = kept.settings.redis_url.partition("?")[0]  # what follows may be a password, too
    values["redis_url"] = re.sub(":[^/@]*@", ":***@", address)
    return [{"setting": name, "value": value} for name, value in values.items()]


async def rooms(kept: Kept, options: argparse.Namespace) -> Rows:
    """List rooms with their sizes; it counts as a visit to each"""
    rows: Rows = []
    for name in sorted([name async for name in kept.state.names()]):
        if name.startswith(options.prefix) and (found := await kept.state.load(name)):
            size = sum(map(len, found.fields.values()))
            row = {"room": name, "version": found.version, "keys": len(found.fields), "bytes": size}
            rows.append(row)
    return rows


async def room(kept: Kept, options: argparse.Namespace) -> Rows:
    """Show what is in a room"""
    snapshot = await kept.state.load(options.name)
    if snapshot is None:
        raise Problem(f"there is no room {options.name}")
    fields = unpack_fields(snapshot.fields)
    return [{"key": key, "value": value} for key, value in sorted(fields.items())]


async def delete(kept: Kept, options: argparse.Namespace) -> Rows:
    """Delete a room: who is in it sees it as it began"""
    if await kept.state.load(options.name) is None:
        raise Problem(f"there is no room {options.name}")
    await kept.state.delete(options.name)
    return [{"room": options.name, "state": "deleted"}]


async def sessions(kept: Kept, options: argparse.Namespace) -> Rows:
    """List the sessions of a user who logged in, or of everybody"""
    if options.user is None:
        return [_row(ticket.session) for ticket in (await kept.sessions.everybody()).values()]
    return [_row(session) for session in await kept.sessions.sessions_of(options.user)]


async def revoke(kept: Kept, options: argparse.Namespace) -> Rows:
    """End all sessions of a user, or of everybody, with their open sockets"""
    if options.all:
        tickets = await kept.sessions.everybody()
        for ticket in tickets.values():
            await kept.sessions.destroy(ticket)
        ended = list(tickets)
    else:
        ended = [session.identity for session in await kept.sessions.sessions_of(options.user)]
        await kept.sessions.log_out_everywhere(options.user)
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
        backends = importlib.import_module("app").BACKENDS
        with ExitStack() as held:
            given = backends.prepare(load_settings(os.environ), held)
            rows = asyncio.run(_run(backends, given, options))
    except (SettingsError, StoreError, Problem) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(rows, default=str) if options.json else _table(rows))
    return 0


async def _run(backends: Backends, given: Settings, options: argparse.Namespace) -> Rows:
    backend = backends.sessions if options.command in OF_SESSIONS else backends.state
    if options.command not in ("check", "settings") and not backend.SHARED:
        raise Problem("this is in the memory of the workers, where only they can look")
    async with (
        backends.pubsub.open_pubsub(given) as pubsub,
        backends.state.open_state(given, pubsub) as state,
        backends.sessions.open_storage(given) as storage,
    ):
        kept = Kept(given, state, SessionStore(storage, pubsub, given), backends.isolated())
        return await COMMANDS[options.command](kept, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gospa", description=__doc__)
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")
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


def _table(rows: Rows) -> str:
    """Columns under their names; nothing for no rows."""
    if not rows:
        return "none"
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
