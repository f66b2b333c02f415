"""Rooms over HTTP: for curl, webhooks and programs of any language, and without WebSockets.

GET  /rooms/<room>            its state as JSON, with an ETag
POST /rooms/<room>/<action>   with a JSON object of arguments; Idempotency-Key has it run once
POST /ws/stream, /ws/send     what the browser client uses where WebSockets are blocked
"""

from math import ceil

from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.response import json, raw

from gospa import RoomError, event_streams, rooms_of, session_of

JSON = "application/json"
MAX_KEY = 255  # characters of an Idempotency-Key

blueprint = Blueprint("http_rooms", url_prefix="/rooms")


def install(app: Sanic) -> None:
    """Serve the rooms. Visitors may do what `authorize` and `allows` let them do on a socket."""
    app.blueprint([blueprint, event_streams])


async def refuse(_: Request, error: RoomError) -> HTTPResponse:
    """The code and the reason that a client on a socket would get."""
    wait = getattr(error, "wait", 0)
    headers = {"Retry-After": str(ceil(wait))} if wait else {}
    body = {"error": error.code, "text": str(error)}
    return json(body, error.status, headers)


blueprint.exception(RoomError)(refuse)


@blueprint.get("/<path:path>")
async def read(request: Request, path: str) -> HTTPResponse:  # noqa: ARG001 - decoded, names are not
    """The state of a room."""
    rooms = rooms_of(request).for_visitor(await session_of(request), request.client_ip)
    state, tag = await rooms.read(_path(request))
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache", "Vary": "Cookie, Authorization"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return HTTPResponse(status=304, headers=headers)
    return raw(state, headers=headers, content_type=JSON)


@blueprint.post("/<path:path>")
async def call(request: Request, path: str) -> HTTPResponse:  # noqa: ARG001 - see read
    """The result of an action or a command of a room."""
    key = request.headers.get("idempotency-key", "")
    if len(key) > MAX_KEY or not key.isprintable():
        text = f"an Idempotency-Key has at most {MAX_KEY} printable characters"
        return json({"error": "invalid", "text": text}, 400)
    rooms = rooms_of(request).for_visitor(await session_of(request), request.client_ip)
    room, _, method = _path(request).rpartition("/")
    return raw(await rooms.call(room, method, request.body, key), content_type=JSON)


def _path(request: Request) -> str:
    """What follows `/rooms/`, percent-encoded as the client wrote it."""
    path, _, _ = request.raw_url.decode("latin-1").partition("?")
    return path.partition("/rooms/")[2]
