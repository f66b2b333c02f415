"""The route `/ws`: checks a WebSocket's handshake, then hands the transport to a `Connection`."""

import re
from typing import Any

from sanic import Blueprint, HTTPResponse, Request
from sanic.exceptions import BadRequest, SanicException
from sanic.response import empty
from websockets import http11
from websockets.datastructures import Headers
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gospa.live.connection import Connection
from gospa.live.handshake import (
    admitted,
    free_transport,
    protocol_of,
    refuse_when_stopping,
    refusing_too_many,
    register,
    take_over,
)
from gospa.live.limits import Allowance, ConnectionLimits
from gospa.rates import Visitor, network_of
from gospa.sessions import cookie
from gospa.trouble import report
from gospa.web import csrf

VERSION = "13"  # of the WebSocket protocol
UNREADABLE = re.compile(r"[^\t -~]")  # allowed in headers that do not concern the handshake

blueprint = Blueprint("live")


@blueprint.get("/ws", strict_slashes=True)
async def serve_socket(request: Request) -> HTTPResponse | None:
    """Answer the handshake, then leave the transport to a connection."""
    hub = request.app.ctx.hub
    refuse_when_stopping(request)
    csrf.check_origin(request)
    stream: Any = request.stream
    if stream.request_body == "chunked" or stream.request_bytes:
        raise BadRequest("a handshake has no body", quiet=True)
    offered = _offered(request)
    spoken = protocol_of(offered)
    protocol = ServerProtocol(
        subprotocols=[Subprotocol(spoken)],
        max_size=hub.settings.frame_size,
        state=State.OPEN,  # Sanic has read the request, so frames come next
    )
    answer = protocol.accept(_handshake(request))
    if answer.status_code != 101:
        report("bad_handshake", "a handshake of %s is not one of a WebSocket", request.client_ip)
        raise _refusal(request, answer)
    session, set_cookie, refusal = await admitted(request, spoken, offered)
    if set_cookie:
        answer.headers["Set-Cookie"] = set_cookie
    transport = free_transport(request)
    if transport is None:
        return None
    visitor = Visitor(session.identity, network_of(request.client_ip))
    connection = Connection(hub, session, transport, protocol, Allowance(hub.limits, visitor))
    register(request.app, connection, session, request.client_ip)
    received = take_over(transport, connection, answer.serialize())
    if refusal is not None:
        connection.close(refusal)
    connection.data_received(received)
    return None


# Sanic's mark for a handler that answers by itself.
serve_socket.is_websocket = True  # type: ignore[attr-defined]


@blueprint.post("/ws", strict_slashes=True)
async def begin_session(request: Request) -> HTTPResponse:
    """Begin a session, unless the client has one, before its first socket.

    Browsers need not take a cookie from the answer to a handshake, and a page's first sockets would
    each get a session of their own. They also do not tell pages why a handshake failed: what it
    would be answered, this is.
    """
    limits: ConnectionLimits = request.app.ctx.limits
    refuse_when_stopping(request)
    with refusing_too_many(request):
        limits.admit_handshake(request.client_ip)
        session, _ = await cookie.start_session(request)
        limits.admit(session.identity, request.client_ip)
    return empty()


def _refusal(request: Request, answer: http11.Response) -> SanicException:
    """The core's refusal, with what the client may do instead."""
    status, headers = answer.status_code, {}
    if status == 405:  # HEAD
        status = 426
    if request.headers.get("sec-websocket-version", VERSION) != VERSION:
        status, headers = 426, {"Sec-WebSocket-Version": VERSION}
    if status == 426:
        headers["Upgrade"] = "websocket"
    return SanicException((answer.body or b"").decode(), status, quiet=True, headers=headers)


def _offered(request: Request) -> list[str]:
    offered = request.headers.getall("sec-websocket-protocol", [])
    return [each.strip() for each in ",".join(offered).split(",")]


def _handshake(request: Request) -> http11.Request:
    headers = ((name, UNREADABLE.sub("?", value)) for name, value in request.headers.items())
    return http11.Request(request.path, Headers(headers), request.method)
