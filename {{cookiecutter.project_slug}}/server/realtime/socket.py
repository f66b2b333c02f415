"""The route `/ws`: checks a handshake, then hands the transport to a connection of ours."""

import socket
from typing import Any
from urllib.parse import urlsplit

from sanic import Blueprint, HTTPResponse, Request
from sanic.exceptions import Forbidden, SanicException, ServiceUnavailable
from websockets import http11
from websockets.datastructures import Headers
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from server.realtime import wire
from server.realtime.connection import Connection
from server.realtime.hub import Hub
from server.sessions import cookie
from server.sessions.session import Session

UNSENT = 128 * 1024  # bytes

blueprint = Blueprint("realtime")


@blueprint.get("/ws")
async def serve_socket(request: Request) -> HTTPResponse | None:
    """Answer the handshake, then return when the connection has ended."""
    hub: Hub = request.app.ctx.hub
    if hub.draining:
        raise ServiceUnavailable("this worker stops", headers={"Retry-After": "1"}, quiet=True)
    _check_origin(request, hub.settings.allowed_origins)
    protocol = ServerProtocol(
        subprotocols=[Subprotocol(wire.SUBPROTOCOL)],
        max_size=hub.settings.frame_size,
        state=State.OPEN,  # Sanic has read the request, so frames come next
    )
    answer = protocol.accept(_handshake(request))
    if answer.status_code != 101:
        raise SanicException((answer.body or b"").decode(), answer.status_code, quiet=True)
    session = await cookie.start_session(request)
    if session.set_cookie:
        answer.headers["Set-Cookie"] = session.set_cookie
    await _take_over(request, hub, session.session, protocol, answer)
    return None


# Sanic's mark for a handler that answers by itself.
serve_socket.is_websocket = True  # type: ignore[attr-defined]


async def _take_over(
    request: Request,
    hub: Hub,
    session: Session,
    protocol: ServerProtocol,
    answer: http11.Response,
) -> None:
    transport: Any = request.transport
    http = transport.get_protocol()
    _bound_kernel_buffer(transport)
    # No await from here until the bytes that Sanic received are handed on: none is lost.
    connection = Connection(hub, session, transport, protocol, http)
    transport.set_protocol(connection)
    transport.resume_reading()
    transport.write(answer.serialize())
    connection.data_received(bytes(http.recv_buffer))
    await connection.closed


def _bound_kernel_buffer(transport: Any) -> None:
    """Have the kernel take little that it cannot send yet; it would take megabytes per client.

    What waits there is old when it arrives, while what waits here can still be left out. See
    `tcp_notsent_lowat` in https://docs.kernel.org/networking/ip-sysctl.html
    """
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


def _handshake(request: Request) -> http11.Request:
    return http11.Request(request.path, Headers(request.headers.items()), request.method)


def _check_origin(request: Request, allowed: str) -> None:
    """Refuse pages of other sites: browsers send cookies with their handshakes too."""
    origin = request.headers.get("origin")
    if origin is None:
        return  # not a browser
    others = filter(None, map(str.strip, allowed.split(",")))
    if origin not in others and _host(origin) != request.host:
        raise Forbidden(f"pages of {origin[:100]} may not connect (GOSPA_ALLOWED_ORIGINS)")


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
