"""Sessions of HTTP requests: `await session_of(request)`, and the cookie with their token."""

import time
from collections.abc import Mapping
from math import ceil

from sanic import Request
from sanic.exceptions import BadRequest, Unauthorized
from sanic.log import logger
from sanic.response import BaseHTTPResponse

from gospa.errors import RateLimited, StoreError
from gospa.rates import network_of
from gospa.sessions.attributes import deletions, is_plain, name_of, set_cookie
from gospa.sessions.bearer import bearer_token, refusal
from gospa.sessions.record import Due, SessionRecord
from gospa.sessions.session import Session, normalized
from gospa.sessions.store import SessionStore
from gospa.trouble import report

BLANKS = b" \t"  # whitespace of HTTP; `strip()` without arguments also removes Unicode whitespace


class SessionRequest(Request):
    """Keeps the record of its visitor's session, once a handler has used it."""

    record: SessionRecord | None = None
    logged_out = False
    stored = False  # whether the session is stored, so that nothing remains to be done
    ambiguous = False  # whether the session's cookie was sent more than once
    cookieless = False  # whether the route accepts all origins: cookies are neither read nor set


async def session_of(request: Request) -> Session:
    """The visitor's session, loaded at the first call.

    Changes are saved when the handler returns or begins to stream, unless the status is 5xx.
    Raises StoreError, which is answered with 503.
    """
    return (await _record(request)).session


async def log_in(request: Request, user: str, values: Mapping[str, object] | None = None) -> None:
    """Log a user in: set `values` and issue a new token; the old one becomes invalid.

    An anonymous visitor keeps the session's values and the private room. If another user was
    logged in, that session ends and a new one begins. Raises RateLimited, which is answered with
    429, if this address logs in too often.
    """
    user = normalized(user)
    record = await _record(request)
    if bearer_token(request) is not None:
        raise BadRequest("log in with a cookie; issue_token gives a program its token")
    _store(request).quota.log_in(network_of(request.client_ip))
    if record.session.user not in (None, user):
        await log_out(request)
        record = await _record(request)
    record.session.log_in(user, time.time())
    record.session.update(values or {})
    record.due = Due.LOG_IN


async def renew_token(request: Request) -> None:
    """Issue a new token. Call this when the session gains or loses permissions.

    A token that was sent in the Authorization header stays the same.
    """
    record = await _record(request)
    if record.due is Due.NOTHING and not cookieless(request):
        record.due = Due.NEW_TOKEN


async def issue_token(
    request: Request, user: str, values: Mapping[str, object] | None = None
) -> str:
    """Begin another session of a user; returns its token, for a program's Authorization header.

    Call it for an authenticated user, and send the token over HTTPS. Raises RuntimeError unless
    app.py sets `bearer_tokens=True`, and RateLimited if this address logs in too often.
    """
    if not getattr(request.app.ctx, "bearer_tokens", False):
        raise RuntimeError("tokens in headers are off: create_app(..., bearer_tokens=True)")
    store = _store(request)
    store.quota.log_in(network_of(request.client_ip))
    record = store.create()
    record.session.log_in(user, time.time())
    record.session.update(values or {})
    if not await store.log_in(record) or record.token is None:
        raise Unauthorized("all sessions of this user were ended meanwhile")
    return record.token


async def log_out(request: Request) -> None:
    """End the session at once, even if the request fails later; an empty one replaces it."""
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
    assert isinstance(request, SessionRequest)  # noqa: S101 - the application's only kind
    if record.replaced:
        raise Unauthorized("the session has a new token: reconnect with the new cookie")
    if await lacks_log_in(request):
        report("not_logged_in", "a socket of %s was refused: log in first", request.client_ip)
        raise Unauthorized("log in first")
    if record.raw is None:
        await store.begin(record, network_of(request.client_ip))
    elif not await store.touch(record):
        raise Unauthorized("the session just ended: reconnect")
    request.stored = True
    sets_cookie = record.token and not cookieless(request)
    return record.session, str(set_cookie(request, record.token or "")) if sets_cookie else None


def needs_https(request: Request) -> bool:
    """Whether browsers keep the session's cookie only if the page came over HTTPS."""
    return not is_plain(request)


async def lacks_log_in(request: Request) -> bool:
    """Whether the client has to log in before it opens a socket."""
    record = await _record(request)
    required = _store(request).settings.sockets_need_login
    return required and record.session.user is None and not record.replaced


async def has_session(request: Request) -> bool:
    """Whether the client sent a current or previous token of a session."""
    record = await _record(request)
    return record.raw is not None or record.replaced


async def no_session(request: Request) -> tuple[Session, None]:
    """An empty session that is not stored, for a socket that is closed at once."""
    return (await _record(request)).session, None


def cookieless(request: Request) -> bool:
    """Whether the request's cookies are ignored, and its answer sets none."""
    return getattr(request, "cookieless", False) or bearer_token(request) is not None


async def _record(request: Request) -> SessionRecord:
    assert isinstance(request, SessionRequest)  # noqa: S101 - the application's only kind
    if request.record is None:
        given = bearer_token(request)
        token = _sent_token(request) if given is None else given
        record = await _store(request).load(token) if token else None
        if given is not None and (record is None or record.barred):
            raise refusal()
        if request.record is None:  # unless another task of this request has loaded it
            request.record = record or _store(request).create()
    return request.record


def _sent_token(request: SessionRequest) -> str | None:
    """The token in the session's cookie; None if there is no such cookie, or more than one.

    It is read from the raw header. Sanic's parser removes all Unicode whitespace around a name, so
    that a sibling domain could set a cookie that browsers do not treat as a `__Host-` cookie, but
    Sanic does: https://portswigger.net/research/cookie-chaos-how-to-bypass-host-and-secure-cookie-prefixes
    """
    if request.cookieless:
        return None
    name, found = name_of(request).encode(), []
    for line in request.head.split(b"\r\n")[1:]:
        field, _, value = line.partition(b":")
        if field.lower() == b"cookie":
            pairs = (pair.partition(b"=") for pair in value.split(b";"))
            found += [token.strip(BLANKS) for key, _, token in pairs if key.strip(BLANKS) == name]
    request.ambiguous = len(found) > 1
    if request.ambiguous:
        _warn_of_ambiguity(request)
    return found[0].decode("latin-1") if len(found) == 1 else None


def _warn_of_ambiguity(request: Request) -> None:
    """Log it once, because a page of a sibling domain may cause it at any rate."""
    if getattr(request.app.ctx, "warned_of_ambiguity", False):
        return
    request.app.ctx.warned_of_ambiguity = True
    logger.warning(
        "a client sent several cookies named %s, so all are ignored and the response deletes them; "
        "this is logged once. Does another application of this domain set such cookies?",
        name_of(request),
    )


async def finish(
    request: SessionRequest, response: BaseHTTPResponse, record: SessionRecord
) -> None:
    """Save the session that the request used, and set its cookie."""
    response.headers["Cache-Control"] = "no-store"
    if request.ambiguous:
        for deletion in deletions(request):
            response.headers.add("Set-Cookie", deletion)
    if cookieless(request) and record.raw is None:
        return  # nobody gets the token of this session, such as one that begins at a log-out
    saved = request.stored or (response.status < 500 and await _save(request, response, record))
    if cookieless(request):
        return
    if saved and record.token and record.raw is not None:
        response.headers.add("Set-Cookie", str(set_cookie(request, record.token)))
    elif request.logged_out:
        response.headers.add("Set-Cookie", str(set_cookie(request, "")))


async def _save(request: Request, response: BaseHTTPResponse, record: SessionRecord) -> bool:
    try:
        if refusal := await _store(request).finish(record, network_of(request.client_ip)):
            _fail(response, 409, f"{refusal} Try again.")
            return False
    except RateLimited as error:
        _fail(response, 429, f"{error}.".capitalize(), retry_after=ceil(error.wait))
        return False
    except Exception as error:  # Sanic would log it and send the response as it is
        logger.exception("a session was not saved")
        _fail(
            response, 503 if isinstance(error, StoreError) else 500, "Nothing was saved. Try again."
        )
        return False
    return True


def _fail(response: BaseHTTPResponse, status: int, text: str, retry_after: int = 1) -> None:
    """Turn the response into an error in place: a stream has to stay the same object."""
    response.status, response.body = status, f"{text}\n".encode()
    response.content_type = "text/plain; charset=utf-8"
    for name in ("Content-Length", "Location"):
        response.headers.pop(name, None)
    response.headers["Retry-After"] = str(retry_after)


def _store(request: Request) -> SessionStore:
    store: SessionStore = request.app.ctx.sessions
    return store
