"""Sessions of HTTP requests: `await session_of(request)`, and the cookie that brings them back."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sanic import Request
from sanic.cookies import Cookie
from sanic.exceptions import Unauthorized
from sanic.log import logger
from sanic.response import BaseHTTPResponse

from gospa.errors import StoreError
from gospa.sessions.session import Session
from gospa.sessions.store import SessionStore, Ticket

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(slots=True)
class Touched:
    """What a request did with its session."""

    ticket: Ticket
    login: bool = False
    rotates: bool = False
    ended: bool = False


class SessionRequest(Request):
    """Knows whether it touched its visitor's session."""

    touched: Touched | None = None


async def session_of(request: Request) -> Session:
    """The visitor's session, loaded at the first call. Put something in it to have it kept.

    It is saved when the handler returns or begins to stream, unless it failed (5xx).
    Raises StoreError, which is answered with 503.
    """
    return (await _touch(request)).ticket.session


async def log_in(request: Request, user: str, values: Mapping[str, object] | None = None) -> None:
    """Give the session to `user`, with `values` and a new token: the old one soon opens nothing.

    What an anonymous visitor had stays, with their private room; what another user had does not.
    """
    touched = await _touch(request)
    if touched.ticket.session.user not in (None, user):
        await log_out(request)
    touched.ticket.session.log_in(user, time.time())
    touched.ticket.session.update(values or {})
    touched.login = True


async def renew_token(request: Request) -> None:
    """Give the session a new token, as is due when it may do more or less than before."""
    (await _touch(request)).rotates = True


async def log_out(request: Request) -> None:
    """End the session at once, whatever becomes of the request; a new and empty one follows."""
    touched = await _touch(request)
    await _store(request).destroy(touched.ticket)
    touched.ticket = _store(request).create()
    touched.ended, touched.login, touched.rotates = True, False, False


async def sessions_of(request: Request) -> list[Session]:
    """All sessions of this session's user, the newest login last."""
    user = (await session_of(request)).user
    return [] if user is None else await _store(request).sessions_of(user)


async def log_out_everywhere(request: Request) -> None:
    """End all sessions of this session's user."""
    user = (await session_of(request)).user
    if user is not None:
        await _store(request).log_out_everywhere(user)
    await log_out(request)


async def start_session(request: Request) -> tuple[Session, str | None]:
    """The visitor's session for a socket, stored in any case: sockets need an identity.

    With it the Set-Cookie header for a client that has not got its token. Raises Unauthorized for
    a token that was replaced: who has the new one comes again with it.
    """
    touched = await _touch(request)
    ticket, store = touched.ticket, _store(request)
    if ticket.outgoing:
        raise Unauthorized("the session has a new token: come again with that")
    if store.settings.sockets_need_login and ticket.session.user is None:
        raise Unauthorized("log in first")
    if ticket.raw is None:
        await store.begin(ticket)
    elif not await store.touch(ticket):
        raise Unauthorized("the session just ended: come again")
    return ticket.session, str(_cookie(request, ticket.token)) if ticket.token else None


async def _touch(request: Request) -> Touched:
    assert isinstance(request, SessionRequest)  # noqa: S101 - the application's only kind
    if request.touched is None:
        # Sanic's own `get` also takes cookies of other names, which a sibling domain may set.
        (token, *_) = dict.get(request.cookies, _name(request)) or (None,)
        ticket = await _store(request).load(token) if token else None
        if request.touched is None:  # still: no other task of this request was quicker
            request.touched = Touched(ticket or _store(request).create())
    return request.touched


async def finish(request: Request, response: BaseHTTPResponse, touched: Touched) -> None:
    """Save the session that the request touched, and set its cookie."""
    response.headers["Cache-Control"] = "no-store"
    saved = response.status < 500 and await _save(request, response, touched)
    ticket = touched.ticket
    if saved and ticket.token and ticket.raw is not None:
        response.headers.add("Set-Cookie", str(_cookie(request, ticket.token)))
    elif touched.ended:
        response.headers.add("Set-Cookie", str(_cookie(request, "")))


async def _save(request: Request, response: BaseHTTPResponse, touched: Touched) -> bool:
    store = _store(request)
    try:
        if touched.login and not await store.log_in(touched.ticket):
            _fail(response, 409, "All sessions of this user were ended meanwhile.")
            return False
        if not touched.login:
            await (store.rotate if touched.rotates else store.touch)(touched.ticket)
    except Exception as error:  # Sanic would log it and send the answer as if all were well
        logger.exception("a session was not saved")
        _fail(response, 503 if isinstance(error, StoreError) else 500, "Nothing was saved.")
        return False
    return True


def _fail(response: BaseHTTPResponse, status: int, text: str) -> None:
    """Make the answer another one in place, as it may have to be the same object (a stream)."""
    response.status, response.body = status, f"{text} Try again.\n".encode()
    response.content_type = "text/plain; charset=utf-8"
    for name in ("Content-Length", "Location"):
        response.headers.pop(name, None)
    response.headers["Retry-After"] = "1"


def _store(request: Request) -> SessionStore:
    store: SessionStore = request.app.ctx.sessions
    return store


def _plain(request: Request) -> bool:
    """Whether this is development over plain HTTP, where browsers refuse `__Host-` cookies."""
    return request.server_name in LOCAL_HOSTS and request.scheme in ("http", "ws")


def _name(request: Request) -> str:
    return "session" if _plain(request) else "__Host-session"


def _cookie(request: Request, token: str) -> Cookie:
    plain = _plain(request)
    return Cookie(
        "session",
        token,
        max_age=round(_store(request).settings.session_absolute) if token else 0,
        secure=not plain,
        httponly=True,
        samesite="Lax",
        host_prefix=not plain,
    )
