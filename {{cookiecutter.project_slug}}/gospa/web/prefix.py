"""An application below a path of its host (GOSPA_PATH_PREFIX): its code and routes know no prefix.

It is removed from what requests ask for, and added to where pages and redirects lead.
"""

import re

from sanic.response import BaseHTTPResponse

# Attributes of HTML whose value is a path of this host; `//` begins the name of another one.
_LINKED = re.compile(r"""(\s(?:src|href|action|formaction)\s*=\s*["']?)(?=/(?!/))""")


def removed(prefix: str, url: bytes) -> bytes:
    """The URL of a request within the application."""
    start = prefix.encode()
    rest = url.removeprefix(start)
    if rest == url or rest[:1] not in (b"/", b"?", b""):
        return url
    return rest if rest.startswith(b"/") else b"/" + rest


def add_to_location(prefix: str, response: BaseHTTPResponse) -> None:
    """Have a redirect to a path of the application lead there."""
    place = response.headers.get("location", "") if prefix else ""
    if place.startswith("/") and not place.startswith(("//", f"{prefix}/")) and place != prefix:
        response.headers["location"] = prefix + place


def add_to_links(prefix: str, page: str) -> str:
    """Have the links, forms, scripts and styles of a page lead to the application."""
    return _LINKED.sub(lambda found: found[1] + prefix, page) if prefix else page
