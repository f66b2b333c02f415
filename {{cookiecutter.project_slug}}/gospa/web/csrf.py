"""Protection against cross-site request forgery (CSRF), by Origin and Sec-Fetch-Site."""

from urllib.parse import urlsplit

from sanic import Request
from sanic.exceptions import Forbidden

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
PORTS = {"http": 80, "https": 443}


def check_method(request: Request) -> None:
    """Raise Forbidden for unsafe methods across origins."""
    if request.method in SAFE:
        return
    site = request.headers.get("sec-fetch-site")
    if site not in (None, "same-origin", "none") and "origin" not in request.headers:
        raise Forbidden("a page of another site may not do this")
    if site not in ("same-origin", "none"):
        check_origin(request)


def check_origin(request: Request) -> None:
    """Raise Forbidden for an origin that is neither our own nor in GOSPA_ALLOWED_ORIGINS.

    Our own has the scheme, host and port that the client asked for. Behind a proxy, Sanic reads
    them from headers: https://sanic.dev/en/guide/advanced/proxy-headers.html
    """
    origin = request.headers.get("origin")
    if origin is None:
        return  # not a browser
    scheme = request.scheme.replace("ws", "http")
    own = (scheme, request.server_name, request.server_port)
    allowed = map(str.strip, request.app.ctx.settings.allowed_origins.split(","))
    found = _parts(origin)
    if found is None or found not in {own, *map(_parts, allowed)}:
        raise Forbidden(
            f"pages of {origin[:100]!r} may not do this (set GOSPA_ALLOWED_ORIGINS; "
            "behind a proxy, SANIC_PROXIES_COUNT or SANIC_FORWARDED_SECRET)"
        )


def _parts(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None if it is not an origin, such as the `null` of sandboxed pages."""
    try:
        url = urlsplit(origin)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        port = url.port or PORTS.get(url.scheme)
    except ValueError:
        return None
    if not host or not port or origin != f"{url.scheme}://{url.netloc}" or url.username is not None:
        return None
    return url.scheme, host, port
