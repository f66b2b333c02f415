"""The route `/ws`: checks a handshake, then hands the transport to a `Connection`."""

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.exceptions import BadRequest, SanicException, ServiceUnavailable, Unauthorized
from sanic.response import empty
from websockets import http11
from websockets.datastructures import Headers
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gospa.live import wire
from gospa.live.connection import Connection
from gospa.live.limits import Allowance, ConnectionLimits, TooMany
from gospa.rates import Visitor, network_of
from gospa.sessions import cookie
from gospa.sessions.session import Session
from gospa.trouble import report
from gospa.web import csrf

UNSENT = 128 * 1024  # bytes
RETRY_AFTER = 5  # seconds
VERSION = "13"  # of the WebSocket protocol
_RELEASED = re.compile(r"gospa\.v[0-9]{1,4}")
UNREADABLE = re.compile(r"[^\t -~]")  # allowed in headers that do not concern the handshake

blueprint = Blueprint("live")


@blueprint.get("/ws", strict_slashes=True)
async def serve_socket(request: Request) -> HTTPResponse | None:
    """Answer the handshake, then leave the transport to a connection."""
    hub = request.app.ctx.hub
    limits: ConnectionLimits = request.app.ctx.limits
    if hub.draining:
        raise ServiceUnavailable("this worker stops", headers={"Retry-After": "1"}, quiet=True)
    csrf.check_origin(request)
    stream: Any = request.stream
    if stream.request_body == "chunked" or stream.request_bytes:
        raise BadRequest("a handshake has no body", quiet=True)
    spoken = _protocol(request)
    protocol = ServerProtocol(
        subprotocols=[Subprotocol(spoken)],
        max_size=hub.settings.frame_size,
        state=State.OPEN,  # Sanic has read the request, so frames come next
    )
    answer = protocol.accept(_handshake(request))
    if answer.status_code != 101:
        report("bad_handshake", "a handshake of %s is not one of a WebSocket", request.client_ip)
        raise _refusal(request, answer)
    with _refusing_too_many(request):
        limits.admit_handshake(request.client_ip)
        refusal = _other_protocol(spoken) or await _missing(request)
        session, set_cookie, refusal = await _session_of(request, refusal)
        limits.admit(session.identity, request.client_ip)
    if set_cookie:
        answer.headers["Set-Cookie"] = set_cookie
    transport: Any = request.transport
    if hub.draining or transport.is_closing() or transport.get_write_buffer_size():
        return None  # too late to answer: the worker stops, or the client has gone
    _bound_kernel_buffer(transport)
    # No await from here on: Sanic's buffer is handed over, and what follows reaches ours.
    visitor = Visitor(session.identity, network_of(request.client_ip))
    connection = Connection(hub, session, transport, protocol, Allowance(hub.limits, visitor))
    _register(request.app, connection, session, request.client_ip)
    _take_over(transport, connection, answer, refusal)
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
    if request.app.ctx.hub.draining:
        raise ServiceUnavailable("this worker stops", headers={"Retry-After": "1"}, quiet=True)
    with _refusing_too_many(request):
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


async def _missing(request: Request) -> wire.Close | None:
    """What the client lacks, told by a close code, since browsers hide a refused handshake."""
    if await cookie.lacks_log_in(request):
        return wire.LOG_IN
    if wire.WITH_SESSION in _offered(request) and not await cookie.has_session(request):
        return wire.NO_SESSION
    return None


def _offered(request: Request) -> list[str]:
    offered = request.headers.getall("sec-websocket-protocol", [])
    return [each.strip() for each in ",".join(offered).split(",")]


def _protocol(request: Request) -> str:
    """Our protocol, or one of another release if the client speaks only that."""
    offered = _offered(request)
    others = (each for each in offered if _RELEASED.fullmatch(each))
    return wire.SUBPROTOCOL if wire.SUBPROTOCOL in offered else next(others, wire.SUBPROTOCOL)


def _other_protocol(spoken: str) -> wire.Close | None:
    """What a client learns that speaks an older or a newer protocol."""
    version = int(spoken.removeprefix("gospa.v"))
    if version == wire.VERSION:
        return None
    return wire.OUTDATED if version < wire.VERSION else wire.BEHIND


async def _session_of(
    request: Request, refusal: wire.Close | None
) -> tuple[Session, str | None, wire.Close | None]:
    """The session, the Set-Cookie header, and with which code to close instead.

    Browsers hide the status of a handshake from the page, so they get a close code.
    """
    if refusal is not None:
        return *await cookie.no_session(request), refusal
    try:
        return *await cookie.start_session(request), None
    except Unauthorized:  # it has a new token, or just ended
        if wire.WITH_SESSION not in _offered(request):
            raise
        return *await cookie.no_session(request), wire.NEW_TOKEN


@contextmanager
def _refusing_too_many(request: Request) -> Iterator[None]:
    try:
        yield
    except TooMany as error:
        report(error.reason, "a client at %s was refused: %s", request.client_ip, error)
        headers = {"Retry-After": str(RETRY_AFTER)}
        raise SanicException(str(error), 429, quiet=True, headers=headers) from None


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
    connection.requests.session.read = partial(watch.read, session.identity)
    connection.requests.use.on_first = watch.on_first_use(session)
    connection.closed.add_done_callback(unregister, context=connection.requests.context)


def _take_over(
    transport: Any, connection: Connection, answer: http11.Response, refusal: wire.Close | None
) -> None:
    """Sanic's protocol goes as if its client had gone, and with it 5 KiB and a task."""
    http = transport.get_protocol()
    received = bytes(http.recv_buffer)
    http.transport = None  # which it would close when the handler returns
    http.http.upgrade_websocket = True  # else an answer is due: Sanic reads headers more strictly
    asyncio.get_running_loop().call_soon(http.connection_lost, None)
    transport.set_protocol(connection)
    transport.resume_reading()
    transport.write(answer.serialize())
    if refusal is not None:
        connection.close(refusal)
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
