"""An application below a path of its host (GOSPA_PATH_PREFIX), which code and routes do not see.

The prefix is removed from the paths of requests, and added to links and redirects.
"""

import re

from sanic.response import BaseHTTPResponse

# Attributes of HTML whose value is a path of this host; `//` begins the name of another one.
_ORIGIN = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")  # of a request in absolute form
_LINKED = re.compile(r"""(\s(?:src|href|action|formaction)\s*=\s*["']?)(?=/(?!/))""")


def removed(prefix: str, url: bytes) -> bytes:
    """The URL of a request within the application."""
    found = _ORIGIN.match(url)
    origin = found[0] if found else b""
    path = url.removeprefix(origin)
    rest = path.removeprefix(prefix.encode())
    if rest == path or rest[:1] not in (b"/", b"?", b""):
        return url
    return origin + (rest if rest.startswith(b"/") else b"/" + rest)


def add_to_location(prefix: str, response: BaseHTTPResponse) -> None:
    """Add the prefix to a redirect within the application."""
    place = response.headers.get("location", "") if prefix else ""
    if place.startswith("/") and not place.startswith(("//", f"{prefix}/")) and place != prefix:
        response.headers["location"] = prefix + place


def add_to_links(prefix: str, page: str) -> str:
    """Add the prefix to the links, forms, scripts and styles of a page."""
    return _LINKED.sub(lambda found: found[1] + prefix, page) if prefix else page
