"""The route `/ws`: checks a handshake, then hands the transport to a connection of ours."""

import socket
from typing import Any

from sanic import Blueprint, HTTPResponse, Request
from sanic.exceptions import SanicException, ServiceUnavailable
from websockets import http11
from websockets.datastructures import Headers
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from server import origins
from server.realtime import wire
from server.realtime.connection import Connection
from server.realtime.hub import Hub
from server.realtime.visitors import TooMany, Visitors
from server.sessions import cookie
from server.sessions.session import Session

UNSENT = 128 * 1024  # bytes
RETRY_AFTER = 5  # seconds

blueprint = Blueprint("realtime")


@blueprint.get("/ws")
async def serve_socket(request: Request) -> HTTPResponse | None:
    """Answer the handshake, then return when the connection has ended."""
    hub: Hub = request.app.ctx.hub
    visitors: Visitors = request.app.ctx.visitors
    if hub.draining:
        raise ServiceUnavailable("this worker stops", headers={"Retry-After": "1"}, quiet=True)
    origins.check_origin(request)
    protocol = ServerProtocol(
        subprotocols=[Subprotocol(wire.SUBPROTOCOL)],
        max_size=hub.settings.frame_size,
        state=State.OPEN,  # Sanic has read the request, so frames come next
    )
    answer = protocol.accept(_handshake(request))
    if answer.status_code != 101:
        raise SanicException((answer.body or b"").decode(), answer.status_code, quiet=True)
    try:
        visitors.knock(request.client_ip)
        session, set_cookie = await cookie.start_session(request)
        visitors.check_room_for(session)
    except TooMany as error:
        raise SanicException(
            str(error), 429, quiet=True, headers={"Retry-After": str(RETRY_AFTER)}
        ) from None
    if set_cookie:
        answer.headers["Set-Cookie"] = set_cookie
    transport: Any = request.transport
    if transport.is_closing():
        return None  # the client has gone, and its connection would never hear so
    # No await from here until the bytes that Sanic received are handed on: none is lost.
    connection = _take_over(request, hub, session, protocol, answer)
    del answer, protocol  # 2 KiB that would be held for as long as the connection lasts
    with visitors.present(connection, session, request.client_ip):
        await connection.closed
    return None


# Sanic's mark for a handler that answers by itself.
serve_socket.is_websocket = True  # type: ignore[attr-defined]


def _take_over(
    request: Request,
    hub: Hub,
    session: Session,
    protocol: ServerProtocol,
    answer: http11.Response,
) -> Connection:
    transport: Any = request.transport
    http = transport.get_protocol()
    _bound_kernel_buffer(transport)
    connection = Connection(hub, session, transport, protocol, http)
    transport.set_protocol(connection)
    transport.resume_reading()
    transport.write(answer.serialize())
    connection.data_received(bytes(http.recv_buffer))
    return connection


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
