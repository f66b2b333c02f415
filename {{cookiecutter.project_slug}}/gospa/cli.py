"""The command `python -m gospa`: shows and removes rooms and sessions, and calls actions."""

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
from sanic import Sanic

from gospa.app import Backends, open_rooms
from gospa.errors import RoomError, StoreError
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
    """Delete a room; its members see the defaults"""
    if await stores.state.load(options.name) is None:
        raise Problem(f"there is no room {options.name}")
    await stores.state.delete(options.name)
    return [{"room": options.name, "state": "deleted"}]


async def call(app: Sanic, options: argparse.Namespace) -> Rows:
    """Call an action of a room, as the application"""
    async with open_rooms(app, jobs=False) as rooms:
        _, found = app.ctx.router.resolve(options.name, None)
        if (action := found.actions.get(options.action)) is None:
            known = ", ".join(found.actions) or "none"
            raise Problem(f"{options.name} has no action {options.action}; its actions: {known}")
        arguments = dict(options.arguments)
        if len(arguments) < len(options.arguments):
            raise Problem("an argument is given twice")
        result = await rooms.call(action, options.name, **arguments)
    return [{"room": options.name, "result": result}]


def _argument(text: str) -> tuple[str, Any]:
    """`name=value`; a value that is not JSON is text."""
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"write name=value, not {text}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


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
OF_ROOMS = {"call": call}  # which need the rooms themselves, not only what is stored
NOT_SHARED = "this is in the memory of the workers, and no other process can read it"


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        rows = _answer(options)
    except (SettingsError, StoreError, RoomError, Problem) as error:
        print(error, file=sys.stderr)
        return 1
    for row in rows:
        print(json.dumps(row, default=str, ensure_ascii=False))
    return 0


def _answer(options: argparse.Namespace) -> Rows:
    """What the command writes. Raises Problem, and what the stores raise."""
    application = importlib.import_module("app")
    backends: Backends = application.BACKENDS
    backend = backends.storage if options.command in OF_SESSIONS else backends.state
    if options.command not in ("check", "settings") and not backend.shared:
        raise Problem(NOT_SHARED)
    if run := OF_ROOMS.get(options.command):
        return asyncio.run(run(application.app, options))
    with ExitStack() as held:
        given = backends.prepare(load_settings(os.environ), held)
        return asyncio.run(_run(backends, given, options))


async def _run(backends: Backends, given: Settings, options: argparse.Namespace) -> Rows:
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
        description="Show what is stored, call actions, delete rooms, and end sessions.",
        epilog="Output is one JSON object a line, for programs such as jq.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    added = {
        name: commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        for name, run in (COMMANDS | OF_ROOMS).items()
    }
    added["rooms"].add_argument("prefix", nargs="?", default="", help="only names that begin so")
    for name in ("room", "delete-room", "call"):
        added[name].add_argument("name", help="such as poll/lunch")
    added["call"].add_argument("action", help="such as close")
    added["call"].add_argument(
        "arguments",
        nargs="*",
        type=_argument,
        metavar="name=value",
        help="a value is JSON, else text: count=2, text=hello, text='\"2\"'",
    )
    added["sessions"].add_argument("user", nargs="?", help="the name that they logged in with")
    whose = added["revoke-sessions"].add_mutually_exclusive_group(required=True)
    whose.add_argument("user", nargs="?", help="the name that they logged in with")
    whose.add_argument("--all", action="store_true", help="of everybody")
    return parser
