"""The session's cookie: its name, its attributes, and its deletion."""

import re
from collections.abc import Iterator

from sanic import Request, Sanic
from sanic.cookies import Cookie

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
MOST = 4  # paths, and domains, at which a cookie that was sent twice is deleted
PATH_SEGMENT = re.compile(r"[\w.~%-]+", re.ASCII)  # without characters with a meaning in Set-Cookie
DOMAIN = re.compile(r"([a-z0-9-]+\.)*[a-z][a-z0-9-]*\.?", re.ASCII)  # no IP address


def cookie_name(app: Sanic, *, plain: bool) -> str:
    """The name of the session's cookie.

    It contains the application's name, because all ports of a host share cookies, and
    GOSPA_PATH_PREFIX, because its path is always `/`: `__Host-` requires this, and a narrower path
    does not improve security. `plain` is for plain HTTP, over which browsers refuse `__Host-`.
    """
    below = app.ctx.sessions.settings.path_prefix.replace("/", "_")
    return f"{'' if plain else '__Host-'}{app.name}_session{below}"


def is_plain(request: Request) -> bool:
    """Whether this is development over plain HTTP, where browsers refuse `__Host-` cookies."""
    insecure = request.app.ctx.sessions.settings.insecure_cookies
    local = request.server_name in LOCAL_HOSTS
    return (local or insecure) and request.scheme in ("http", "ws")


def name_of(request: Request) -> str:
    """The name of the session's cookie, as the client of this request has it."""
    return cookie_name(request.app, plain=is_plain(request))


def deletions(request: Request) -> Iterator[str]:
    """Set-Cookie headers that delete the cookie, whatever path and domain it was set for.

    Only the server can delete it, because pages cannot access it, and the server does not know its
    path and domain.
    """
    path = request.app.ctx.sessions.settings.path_prefix + request.path
    parts = [part for part in path.split("/") if PATH_SEGMENT.fullmatch(part)][: MOST - 1]
    labels = request.server_name.split(".") if DOMAIN.fullmatch(request.server_name) else []
    for depth in range(len(parts) + 1):
        where = f"Path=/{'/'.join(parts[:depth])}; Max-Age=0"
        domains = [".".join(labels[at:]) for at in range(len(labels) - 1)][-MOST + 1 :]
        for each in ["", *(f"; Domain={domain}" for domain in domains)]:
            secure = "" if is_plain(request) else "; Secure"
            yield f"{name_of(request)}=; {where}{each}; HttpOnly; SameSite=Lax{secure}"


def set_cookie(request: Request, token: str) -> Cookie:
    """The cookie with a token; without one, its deletion."""
    plain = is_plain(request)
    return Cookie(
        cookie_name(request.app, plain=True),
        token,
        max_age=round(request.app.ctx.sessions.settings.session_absolute) if token else 0,
        secure=not plain,
        httponly=True,
        samesite="Lax",
        host_prefix=not plain,
    )
