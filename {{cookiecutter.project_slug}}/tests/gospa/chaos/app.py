"""The application under chaos: the project's own parts with rooms that can be checked.

CHAOS_DISABLE takes one safeguard away, to show that the suite notices.
"""

import os
from typing import Any

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

import app as chosen
from gospa import RoomError, rooms_of
from gospa.app import create_app
from tests.gospa.chaos.rooms import ROOMS
from tests.gospa.chaos.safeguards import SAFEGUARDS

KINDS = {kind.pattern.partition("/")[0]: kind for kind in ROOMS}
blueprint = Blueprint("chaos")


@blueprint.post("/call")
async def call(request: Request) -> HTTPResponse:
    """Call an action of a room, once for the key if there is one; or read the room."""
    asked: dict[str, Any] = request.json
    rooms, room = rooms_of(request), asked["room"]
    kind = KINDS[room.partition("/")[0]]
    if asked["action"] == "read":
        return json({"result": dict(await rooms.read(kind, room))})
    called = rooms.once(asked["key"]) if asked["key"] else rooms
    try:
        result = await called.call(kind.actions[asked["action"]], room, **asked["args"])
    except RoomError as error:
        return json({"code": error.code, "text": str(error)}, 409)
    return json({"result": result})


if disabled := os.environ.get("CHAOS_DISABLE"):
    SAFEGUARDS[disabled]()

app = create_app("chaos", chosen.BACKENDS, ROOMS, views=[blueprint])
