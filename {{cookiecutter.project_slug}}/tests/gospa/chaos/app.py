"""The application under chaos: the project's own parts with rooms that can be checked.

CHAOS_DISABLE takes one safeguard away, to show that the suite notices.
"""

import os
from typing import Any

from msgspec import to_builtins
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

import app as chosen
from gospa import RoomError, rooms_of
from gospa.app import create_app
from tests.gospa.chaos.rooms import KINDS, ROOMS, flat, nested
from tests.gospa.chaos.safeguards import SAFEGUARDS
from tests.gospa.raw_stream import STREAMS

blueprint = Blueprint("chaos")


@blueprint.post("/call")
async def call(request: Request) -> HTTPResponse:
    """Call an action of a room or run a command, once for the key if any; or read the room."""
    asked: dict[str, Any] = request.json
    rooms, room = rooms_of(request), asked["room"]
    kind = KINDS[room.partition("/")[0]]
    if asked["action"] == "read":
        return json({"result": to_builtins(flat(nested(await rooms.read(kind, room))))})
    caller, name, args = (
        rooms.once(asked["key"]) if asked["key"] else rooms,
        asked["action"],
        asked["args"],
    )
    try:
        if name in kind.commands:
            result = await caller.run(kind.commands[name], room, **args)
        else:
            result = await caller.call(kind.actions[name], room, **args)
    except RoomError as error:
        return json({"code": error.code, "text": str(error)}, 409)
    return json({"result": result})


@blueprint.get("/replicas")
async def show_replicas(request: Request) -> HTTPResponse:
    """The tag and the epochs of this worker's rooms."""
    found = {}
    for key, local in request.app.ctx.hub.rooms.items():
        replica, collections = local.follower.replica, local.room.state.schema().collections
        epochs = {name: replica.content.epoch(name).hex() for name in collections}
        found[key] = [replica.tag.hex(), epochs]
    return json(found)


if disabled := os.environ.get("CHAOS_DISABLE"):
    SAFEGUARDS[disabled]()

app = create_app("chaos", chosen.BACKENDS, ROOMS, views=[blueprint], extras=[STREAMS])
