"""Commands that need the application, not only the stores."""

import argparse
import json
from typing import Any

from sanic import Sanic

from gospa.app import open_rooms
from gospa.cli.rows import Problem, Rows
from gospa.types import declarations
from gospa.web.static import CLIENT


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


async def types(app: Sanic, options: argparse.Namespace) -> Rows:
    """Write client/rooms.d.ts, the rooms' types for the browser"""
    path = CLIENT / "rooms.d.ts"
    text = declarations(app.ctx.router.kinds)
    stale = text != (path.read_text(encoding="utf-8") if path.exists() else "")
    if stale and options.check:
        raise Problem(f"client/{path.name} is out of date: run `make types`")
    if stale and text:
        path.write_text(text, encoding="utf-8", newline="\n")
    elif stale:
        path.unlink()
    return [{"file": f"client/{path.name}", "state": "written" if stale else "up to date"}]


def argument(text: str) -> tuple[str, Any]:
    """Parse `name=value`; a value that is not JSON is text."""
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"write name=value, not {text}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
