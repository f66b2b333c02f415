"""Sessions of HTTP requests: `await session_of(request)`, and the cookie with their token."""

import time
from collections.abc import Mapping

from sanic import Request
from sanic.cookies import Cookie
from sanic.exceptions import Unauthorized
from sanic.log import logger
from sanic.response import BaseHTTPResponse

from gospa.errors import StoreError
from gospa.sessions.session import Session
from gospa.sessions.store import Due, SessionRecord, SessionStore

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


class SessionRequest(Request):
    """Keeps the record of its visitor's session, once a handler has used it."""

    record: SessionRecord | None = None
    logged_out = False


async def session_of(request: Request) -> Session:
    """The visitor's session, loaded at the first call.

    Changes are saved when the handler returns or begins to stream, unless the status is 5xx.
    Raises StoreError, which is answered with 503.
    """
    return (await _record(request)).session


async def log_in(request: Request, user: str, values: Mapping[str, object] | None = None) -> None:
    """Log a user in: set `values` and issue a new token; the old one expires after the grace time.

    An anonymous visitor keeps the session's values and the private room. If another user was
    logged in, that session ends and a new one begins.
    """
    record = await _record(request)
    if record.session.user not in (None, user):
        await log_out(request)
        record = await _record(request)
    record.session.log_in(user, time.time())
    record.session.update(values or {})
    record.due = Due.LOG_IN


async def renew_token(request: Request) -> None:
    """Issue a new token. Call this when the session gains or loses permissions."""
    record = await _record(request)
    if record.due is Due.NOTHING:
        record.due = Due.NEW_TOKEN


async def log_out(request: Request) -> None:
    """End the session at once, even if the request fails later; an empty one follows."""
    record, store = await _record(request), _store(request)
    await store.destroy(record)
    assert isinstance(request, SessionRequest)  # noqa: S101 - the application's only kind
    request.record, request.logged_out = store.create(), True


async def sessions_of(request: Request) -> list[Session]:
    """All sessions of this session's user, the newest log-in last."""
    user = (await session_of(request)).user
    return [] if user is None else await _store(request).sessions_of(user)


async def log_out_everywhere(request: Request) -> None:
    """End all sessions of this session's user."""
    user = (await session_of(request)).user
    if user is not None:
        await _store(request).log_out_everywhere(user)
    await log_out(request)


async def start_session(request: Request) -> tuple[Session, str | None]:
    """The visitor's session for a socket, and the Set-Cookie header if the client needs one.

    The session is always stored, because a socket needs its identity. Raises Unauthorized if the
    client has to reconnect with another token, or has to log in.
    """
    record, store = await _record(request), _store(request)
    if record.replaced:
        raise Unauthorized("the session has a new token: reconnect with the new cookie")
    if store.settings.sockets_need_login and record.session.user is None:
        raise Unauthorized("log in first")
    if record.raw is None:
        await store.begin(record)
    elif not await store.touch(record):
        raise Unauthorized("the session just ended: reconnect")
    return record.session, str(_cookie(request, record.token)) if record.token else None


async def _record(request: Request) -> SessionRecord:
    assert isinstance(request, SessionRequest)  # noqa: S101 - the application's only kind
    if request.record is None:
        # Sanic's own `get` also takes cookies of other names, which a sibling domain may set.
        (token, *_) = dict.get(request.cookies, _name(request)) or (None,)
        record = await _store(request).load(token) if token else None
        if request.record is None:  # unless another task of this request was quicker
            request.record = record or _store(request).create()
    return request.record


async def finish(
    request: SessionRequest, response: BaseHTTPResponse, record: SessionRecord
) -> None:
    """Save the session that the request used, and set its cookie."""
    response.headers["Cache-Control"] = "no-store"
    saved = response.status < 500 and await _save(request, response, record)
    if saved and record.token and record.raw is not None:
        response.headers.add("Set-Cookie", str(_cookie(request, record.token)))
    elif request.logged_out:
        response.headers.add("Set-Cookie", str(_cookie(request, "")))


async def _save(request: Request, response: BaseHTTPResponse, record: SessionRecord) -> bool:
    try:
        if not await _store(request).finish(record):
            _fail(response, 409, "All sessions of this user were ended meanwhile.")
            return False
    except Exception as error:  # Sanic would log it and send the response as it is
        logger.exception("a session was not saved")
        _fail(response, 503 if isinstance(error, StoreError) else 500, "Nothing was saved.")
        return False
    return True


def _fail(response: BaseHTTPResponse, status: int, text: str) -> None:
    """Turn the response into an error in place: a stream has to stay the same object."""
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
