"""The route `/ws`: checks a handshake, then hands the transport to a `Connection`."""

import asyncio
import re
import socket
from typing import Any

from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.exceptions import BadRequest, SanicException, ServiceUnavailable
from websockets import http11
from websockets.datastructures import Headers
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gospa.live import wire
from gospa.live.connection import Connection
from gospa.live.limits import ConnectionLimits, TooMany
from gospa.sessions import cookie
from gospa.sessions.session import Session
from gospa.web import csrf

UNSENT = 128 * 1024  # bytes
RETRY_AFTER = 5  # seconds
UNREADABLE = re.compile(r"[^\t -~]")  # allowed in headers that do not concern the handshake

blueprint = Blueprint("live")


@blueprint.get("/ws")
async def serve_socket(request: Request) -> HTTPResponse | None:
    """Answer the handshake, then leave the transport to a connection."""
    hub = request.app.ctx.hub
    limits: ConnectionLimits = request.app.ctx.limits
    if hub.draining:
        raise ServiceUnavailable("this worker stops", headers={"Retry-After": "1"}, quiet=True)
    csrf.check_origin(request)
    if request.stream is None or request.stream.request_body:
        raise BadRequest("a handshake has no body", quiet=True)
    protocol = ServerProtocol(
        subprotocols=[Subprotocol(wire.SUBPROTOCOL)],
        max_size=hub.settings.frame_size,
        state=State.OPEN,  # Sanic has read the request, so frames come next
    )
    answer = protocol.accept(_handshake(request))
    if answer.status_code != 101:
        raise SanicException((answer.body or b"").decode(), answer.status_code, quiet=True)
    try:
        limits.admit_handshake(request.client_ip)
        session, set_cookie = await cookie.start_session(request)
        limits.admit(session.identity, request.client_ip)
    except TooMany as error:
        raise SanicException(
            str(error), 429, quiet=True, headers={"Retry-After": str(RETRY_AFTER)}
        ) from None
    if set_cookie:
        answer.headers["Set-Cookie"] = set_cookie
    transport: Any = request.transport
    if hub.draining or transport.is_closing() or transport.get_write_buffer_size():
        return None  # too late to answer: the worker stops, or the client has gone
    _bound_kernel_buffer(transport)
    # No await from here on: Sanic's buffer is handed over, and what follows reaches ours.
    connection = Connection(hub, session, transport, protocol)
    _register(request.app, connection, session, request.client_ip)
    _take_over(transport, connection, answer)
    return None


# Sanic's mark for a handler that answers by itself.
serve_socket.is_websocket = True  # type: ignore[attr-defined]


def _register(app: Sanic, connection: Connection, session: Session, address: str) -> None:
    """Count the connection and watch its session, until it is closed."""
    connections, limits, watch = app.ctx.connections, app.ctx.limits, app.ctx.session_watch

    def unregister(_: object) -> None:
        connections.discard(connection)
        limits.remove(session.identity, address)
        watch.remove(connection.requests, session)

    connections.add(connection)
    limits.add(session.identity, address)
    watch.add(connection.requests, session)
    connection.requests.on_first_use = watch.on_first_use(session)
    connection.closed.add_done_callback(unregister, context=connection.requests.context)


def _take_over(transport: Any, connection: Connection, answer: http11.Response) -> None:
    """Sanic's protocol goes as if its client had gone, and with it 5 KiB and a task."""
    http = transport.get_protocol()
    received = bytes(http.recv_buffer)
    http.transport = None  # which it would close when the handler returns
    http.http.upgrade_websocket = True  # else an answer is due: Sanic reads headers more strictly
    asyncio.get_running_loop().call_soon(http.connection_lost, None)
    transport.set_protocol(connection)
    transport.resume_reading()
    transport.write(answer.serialize())
    connection.data_received(received)


def _bound_kernel_buffer(transport: Any) -> None:
    """Limit the data that the kernel buffers unsent, which could be megabytes per client.

    Frames in the kernel's buffer can no longer be skipped for a slow client. See
    `tcp_notsent_lowat` in https://docs.kernel.org/networking/ip-sysctl.html
    """
    connection = transport.get_extra_info("socket")
    is_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
    if is_tcp and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


def _handshake(request: Request) -> http11.Request:
    headers = ((name, UNREADABLE.sub("?", value)) for name, value in request.headers.items())
    return http11.Request(request.path, Headers(headers), request.method)
