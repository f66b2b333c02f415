"""Protection against cross-site request forgery (CSRF), by Origin and Sec-Fetch-Site."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sanic import Request
from sanic.exceptions import Forbidden
from sanic.response import BaseHTTPResponse

from gospa.sessions.bearer import bearer_token
from gospa.trouble import report
from gospa.web.routes import handler_of

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
PORTS = {"http": 80, "https": 443}
HOUR = 3600  # seconds
Handler = TypeVar("Handler", bound=Callable[..., Any])


def csrf_exempt(handler: Handler) -> Handler:
    """Let pages of all origins send requests to a route, such as one for webhooks.

    Put it below the route's decorator. The route neither reads nor sets the session's cookie, which
    browsers send automatically: let the route check a signature or a token.
    """
    handler.csrf_exempt = True  # type: ignore[attr-defined]
    return handler


def check_method(request: Request) -> None:
    """Raise Forbidden for unsafe methods across origins, unless cookies are ignored."""
    if request.method in SAFE or bearer_token(request) is not None:
        return
    if getattr(handler_of(request), "csrf_exempt", False):
        request.cookieless = True  # type: ignore[attr-defined]
        return
    site = request.headers.get("sec-fetch-site")
    if site not in (None, "same-origin", "none") and "origin" not in request.headers:
        report("foreign_origin", "a request of a page of another site was refused")
        raise Forbidden("pages of other sites may not send this request")
    if site not in ("same-origin", "none"):
        check_origin(request)


def check_origin(request: Request) -> None:
    """Raise Forbidden for an origin that is neither our own nor in GOSPA_ALLOWED_ORIGINS.

    Our own origin has the scheme, host and port of the request. Behind a proxy, Sanic reads
    them from headers: https://sanic.dev/en/guide/advanced/proxy-headers.html
    """
    origin = request.headers.get("origin")
    if origin is None or bearer_token(request) is not None:
        return  # not a browser, or one that sends no cookie
    scheme = request.scheme.replace("ws", "http")
    own = (scheme, request.server_name, request.server_port)
    if _parts(origin) != own and not is_allowed(request, origin):
        report("foreign_origin", "a request of a page of %r was refused", origin[:100])
        raise Forbidden(
            f"pages of {origin[:100]!r} may not send this request (set GOSPA_ALLOWED_ORIGINS; "
            "behind a proxy, SANIC_PROXIES_COUNT or SANIC_FORWARDED_SECRET)"
        )


def is_allowed(request: Request, origin: str) -> bool:
    """Whether an origin is in GOSPA_ALLOWED_ORIGINS."""
    found = _parts(origin)
    return found is not None and found in _allowed(request.app.ctx.settings.allowed_origins)


def allow_reading(request: Request, response: BaseHTTPResponse) -> None:
    """Let pages of allowed origins read a response (CORS), and answer their preflight requests."""
    if not request.app.ctx.settings.allowed_origins:
        return
    headers = response.headers
    headers.add("Vary", "Origin")
    origin = request.headers.get("origin")
    if origin is None or not is_allowed(request, origin):
        return
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Allow-Credentials"] = "true"
    if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
        headers["Access-Control-Allow-Methods"] = headers.get("Allow", "")
        headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        headers["Access-Control-Max-Age"] = str(HOUR)


@lru_cache(maxsize=8)
def _allowed(setting: str) -> frozenset[tuple[str, str, int] | None]:
    return frozenset(_parts(each.strip()) for each in setting.split(",") if each.strip())


def _parts(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None if it is not an origin, such as the `null` of sandboxed pages.

    The port of an app's own scheme, such as `capacitor:`, is 0.
    """
    try:
        url = urlsplit(origin)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        port = url.port or PORTS.get(url.scheme, 0)
    except ValueError:
        return None
    if not host or origin != f"{url.scheme}://{url.netloc}" or url.username is not None:
        return None
    return url.scheme, host, port
