"""Sessions of HTTP requests: `await session_of(request)`, and the cookie that brings them back."""

from dataclasses import dataclass

from sanic import HTTPResponse, Request, Sanic
from sanic.cookies import Cookie
from sanic.log import logger
from sanic.response import BaseHTTPResponse, text

from server.errors import StoreError
from server.sessions.session import Session
from server.sessions.store import SessionStore, Ticket

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(slots=True)
class _Touched:
    """What this request did with its session."""

    ticket: Ticket
    issued: bool = False
    destroyed: bool = False


@dataclass(slots=True)
class Started:
    """A stored session, and the Set-Cookie header for the client that has not got its token."""

    session: Session
    set_cookie: str | None


def install(app: Sanic) -> None:
    """Save sessions and set cookies on the way out."""
    app.register_middleware(_finish, "response")


async def session_of(request: Request) -> Session:
    """The visitor's session, loaded at the first call. Put something in it to have it kept.

    Raises StoreError, which is answered with 503.
    """
    return (await _touch(request)).ticket.session


async def log_in(request: Request, values: dict[str, object]) -> None:
    """Put `values` in the session and move it to a new token: the old one opens nothing more.

    Sockets that are open stay so, and with them the private room of the session.
    """
    touched = await _touch(request)
    touched.ticket.session.update(values)
    await _store(request).rotate(touched.ticket)
    touched.issued = True


async def log_out(request: Request) -> None:
    """Destroy the session and have the browser forget its token."""
    touched = await _touch(request)
    await _store(request).destroy(touched.ticket)
    touched.destroyed = True


async def start_session(request: Request) -> Started:
    """The visitor's session for a socket, stored in any case: sockets need an identity."""
    touched = await _touch(request)
    ticket = touched.ticket
    if ticket.raw is None:
        await _store(request).save(ticket)
        return Started(ticket.session, str(_cookie(request, ticket.token)))
    await _store(request).touch(ticket)
    return Started(ticket.session, None)


async def _touch(request: Request) -> _Touched:
    touched: _Touched | None = getattr(request.ctx, "session", None)
    if touched is None:
        # Sanic's own `get` also takes cookies of other names, which a sibling domain may set.
        (token, *_) = dict.get(request.cookies, _name(request)) or (None,)
        ticket = await _store(request).load(token) if token else None
        touched = _Touched(ticket or _store(request).create(), issued=ticket is None)
        request.ctx.session = touched
    return touched


async def _finish(request: Request, response: BaseHTTPResponse) -> HTTPResponse | None:
    touched: _Touched | None = getattr(request.ctx, "session", None)
    if touched is None:
        return None
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Cookie"
    if touched.destroyed:
        response.headers.add("Set-Cookie", str(_cookie(request, "")))
    elif response.status < 500:
        try:
            await _save(request, response, touched)
        except (StoreError, ValueError) as error:
            # Raised here, Sanic would log it and send the answer as if all were well.
            logger.exception("a session was not saved")
            status = 503 if isinstance(error, StoreError) else 500
            return text("The session could not be saved.\n", status, headers={"Retry-After": "1"})
    return None


async def _save(request: Request, response: BaseHTTPResponse, touched: _Touched) -> None:
    await _store(request).touch(touched.ticket)
    if touched.issued and touched.ticket.raw is not None:
        cookie = _cookie(request, touched.ticket.token)
        response.headers.add("Set-Cookie", str(cookie))


def _store(request: Request) -> SessionStore:
    store: SessionStore = request.app.ctx.sessions
    return store


def _plain(request: Request) -> bool:
    """Whether this is development over plain HTTP, where browsers refuse `__Host-` cookies."""
    return request.scheme in ("http", "ws") and request.server_name in LOCAL_HOSTS


def _name(request: Request) -> str:
    return "session" if _plain(request) else "__Host-session"


def _cookie(request: Request, token: str) -> Cookie:
    plain = _plain(request)
    return Cookie(
        "session",
        token,
        max_age=None if token else 0,
        secure=not plain,
        httponly=True,
        samesite="Lax",
        host_prefix=not plain,
    )
