"""Reads the command line, opens what the command needs, and writes its answer."""

import argparse
import asyncio
import importlib
import os
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import ExitStack

from sanic import Sanic

from gospa.app import Backends
from gospa.cli.application import argument, call, types
from gospa.cli.checking import check
from gospa.cli.rows import Problem, Rows, show
from gospa.cli.stored import (
    Stores,
    delete,
    list_gone,
    move_rooms,
    revoke,
    room,
    rooms,
    sessions,
    settings,
)
from gospa.environment import load_settings
from gospa.errors import DefinitionError, RoomError, StoreError
from gospa.sessions.store import SessionStore
from gospa.settings import Settings, SettingsError

COMMANDS = {
    "check": check,
    "settings": settings,
    "rooms": rooms,
    "room": room,
    "delete-room": delete,
    "gone-rooms": list_gone,
    "move-rooms": move_rooms,
    "sessions": sessions,
    "revoke-sessions": revoke,
}
OF_SESSIONS = ("sessions", "revoke-sessions")
OF_APP = {"call": call, "types": types}  # commands that need the application, not only the stores
WITHOUT_ROOMS = ("check", "settings", "types")
NOT_SHARED = (
    "the memory backend keeps this data in the memory of the workers, where no other process can "
    "read it: change to the redis backend (docs/updating.md)"
)


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        rows = _answer(options)
    except (SettingsError, StoreError, RoomError, DefinitionError, Problem) as error:
        print(error, file=sys.stderr)
        return 1
    for row in rows:
        show(row)
    return 0


def _answer(options: argparse.Namespace) -> Rows:
    """The rows that the command writes. Raises Problem, and errors of the stores."""
    application = importlib.import_module("app")
    backends: Backends = application.BACKENDS
    backend = backends.storage if options.command in OF_SESSIONS else backends.state
    if options.command not in WITHOUT_ROOMS and not backend.shared:
        raise Problem(NOT_SHARED)
    if run := OF_APP.get(options.command):
        return asyncio.run(run(application.app, options))
    with ExitStack() as held:
        given = backends.prepare(load_settings(os.environ, application.app.name), held)
        return asyncio.run(_run(application.app, backends, given, options))


async def _run(
    app: Sanic, backends: Backends, given: Settings, options: argparse.Namespace
) -> Rows:
    async with (
        backends.pubsub.open(given) as pubsub,
        backends.state.open(given, pubsub) as state,
        backends.storage.open(given) as storage,
    ):
        sessions = SessionStore(storage, pubsub, given, state.delete)
        stores = Stores(given, backends, state, storage, sessions, app.ctx.router)
        return await COMMANDS[options.command](stores, options)


def _name(text: str) -> str:
    """The name of a room or user as it is stored: in NFC, which not all terminals send."""
    return unicodedata.normalize("NFC", text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gospa",
        description="Show and check what is stored, call actions, delete rooms, end sessions.",
        epilog="The output is one JSON object per line, for programs such as jq.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    added = {
        name: commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        for name, run in (COMMANDS | OF_APP).items()
    }
    for name in ("rooms", "gone-rooms"):
        added[name].add_argument(
            "prefix", nargs="?", default="", type=_name, help="the prefix of names"
        )
    added["move-rooms"].add_argument(
        "prefix", type=_name, help="the prefix of their names, such as poll/"
    )
    added["move-rooms"].add_argument("to", type=_name, help="the new prefix, such as vote/")
    for name in ("room", "delete-room", "call"):
        added[name].add_argument("name", type=_name, help="such as poll/lunch")
    added["call"].add_argument("action", help="such as close")
    added["call"].add_argument(
        "arguments",
        nargs="*",
        type=argument,
        metavar="name=value",
        help="a value is JSON, else text: count=2, text=hello, text='\"2\"'",
    )
    added["types"].add_argument("--check", action="store_true", help="only check if it is stale")
    added["sessions"].add_argument("user", nargs="?", type=_name, help="the name of the user")
    whose = added["revoke-sessions"].add_mutually_exclusive_group(required=True)
    whose.add_argument("user", nargs="?", type=_name, help="the name of the user")
    whose.add_argument("--all", action="store_true", help="of everybody")
    return parser
