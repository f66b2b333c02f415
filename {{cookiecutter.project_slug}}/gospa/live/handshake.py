"""Who may connect, over a WebSocket or an event stream, and how a connection takes over."""

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sanic import Request, Sanic
from sanic.exceptions import SanicException, ServiceUnavailable, Unauthorized

from gospa.live import wire
from gospa.live.connection import Connection
from gospa.live.limits import ConnectionLimits, TooMany
from gospa.sessions import cookie
from gospa.sessions.session import Session
from gospa.trouble import report

UNSENT = 128 * 1024  # bytes
RETRY_AFTER = 5  # seconds
_RELEASED = re.compile(r"gospa\.v[0-9]{1,4}")


def refuse_when_stopping(request: Request) -> None:
    """Raise ServiceUnavailable if this worker stops."""
    if request.app.ctx.hub.draining:
        raise ServiceUnavailable("this worker stops", headers={"Retry-After": "1"}, quiet=True)


async def admitted(
    request: Request, spoken: str, offered: list[str]
) -> tuple[Session, str | None, wire.Close | None]:
    """The session, the Set-Cookie header, and the close code of a refusal.

    Browsers hide the status of a handshake from the page, so they get a close code. Raises
    SanicException for a client that has too many connections, or one that offers no
    `gospa.session` and lacks the session's token.
    """
    limits: ConnectionLimits = request.app.ctx.limits
    with refusing_too_many(request):
        limits.admit_handshake(request.client_ip)
        refusal = _other_protocol(spoken) or await _missing(request, offered)
        session, set_cookie, refusal = await _session_of(request, offered, refusal)
        limits.admit(session.identity, request.client_ip)
    return session, set_cookie, refusal


def protocol_of(offered: list[str]) -> str:
    """Our protocol, or one of another release if the client speaks only that."""
    others = (each for each in offered if _RELEASED.fullmatch(each))
    return wire.SUBPROTOCOL if wire.SUBPROTOCOL in offered else next(others, wire.SUBPROTOCOL)


def _other_protocol(spoken: str) -> wire.Close | None:
    """The close code for a client that speaks an older or a newer protocol."""
    version = int(spoken.removeprefix("gospa.v"))
    if version == wire.VERSION:
        return None
    return wire.OUTDATED if version < wire.VERSION else wire.BEHIND


async def _missing(request: Request, offered: list[str]) -> wire.Close | None:
    """The close code if a session or a log-in is missing; browsers hide refused handshakes."""
    if await cookie.lacks_log_in(request):
        return wire.LOG_IN
    if wire.WITH_SESSION in offered and not await cookie.has_session(request):
        return wire.NO_SESSION
    return None


async def _session_of(
    request: Request, offered: list[str], refusal: wire.Close | None
) -> tuple[Session, str | None, wire.Close | None]:
    if refusal is not None:
        return *await cookie.no_session(request), refusal
    try:
        return *await cookie.start_session(request), None
    except Unauthorized:  # it has a new token, or just ended
        if wire.WITH_SESSION not in offered:
            raise
        return *await cookie.no_session(request), wire.NEW_TOKEN


@contextmanager
def refusing_too_many(request: Request) -> Iterator[None]:
    """Answer with 429 if a limit is reached."""
    try:
        yield
    except TooMany as error:
        report(error.reason, "a client at %s was refused: %s", request.client_ip, error)
        headers = {"Retry-After": str(RETRY_AFTER)}
        raise SanicException(str(error), 429, quiet=True, headers=headers) from None


def free_transport(request: Request) -> Any:
    """The transport of a request that is to be taken over, its unsent data bounded.

    None if it is too late to answer: the worker stops, or the client has gone.
    """
    transport: Any = request.transport
    draining = request.app.ctx.hub.draining
    if draining or transport.is_closing() or transport.get_write_buffer_size():
        return None
    _bound_kernel_buffer(transport)
    return transport


def register(app: Sanic, connection: Connection, session: Session, address: str) -> None:
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


def take_over(transport: Any, protocol: asyncio.Protocol, answer: bytes) -> bytes:
    """Answer, and release Sanic's protocol and task (5 KiB) as if the client had disconnected.

    Returns the data that the client has sent meanwhile. There must be no await between the creation
    of `protocol` and this call: Sanic's buffer is handed over, later data goes to `protocol`.
    """
    http = transport.get_protocol()
    received = bytes(http.recv_buffer)
    http.transport = None  # Sanic would close it when the handler returns
    http.http.upgrade_websocket = True  # else an answer is due: Sanic reads headers more strictly
    asyncio.get_running_loop().call_soon(http.connection_lost, None)
    transport.set_protocol(protocol)
    transport.resume_reading()
    transport.write(answer)
    return received


def _bound_kernel_buffer(transport: Any) -> None:
    """Limit the data that the kernel buffers unsent, which could be megabytes per client.

    Frames in the kernel's buffer can no longer be skipped for a slow client. See
    `tcp_notsent_lowat` in https://docs.kernel.org/networking/ip-sysctl.html
    """
    connection = transport.get_extra_info("socket")
    is_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
    if is_tcp and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
