"""Refusal of requests for names that are not the application's (GOSPA_ALLOWED_HOSTS).

A page of another site can reach a server in a private network under a name of that site (DNS
rebinding), and then shares its origin.
"""

from functools import lru_cache

from sanic import Request
from sanic.exceptions import SanicException

from gospa.trouble import report
from gospa.web.health import PATH


def check_host(request: Request) -> None:
    """Raise an exception with the status 421 for a host that is not allowed."""
    allowed = _names(request.app.ctx.settings.allowed_hosts)
    if not allowed or request.path.startswith(PATH):  # probes use an address
        return
    host = request.server_name.lower().rstrip(".")
    labels = host.split(".")
    above = {"." + ".".join(labels[at:]) for at in range(1, len(labels))}
    if allowed.isdisjoint({host, *above}):
        report("foreign_host", "a request for the host %r was refused", host[:100])
        raise SanicException(
            "this is not the server of that name (set GOSPA_ALLOWED_HOSTS)", 421, quiet=True
        )


@lru_cache(maxsize=8)
def _names(setting: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in setting.split(",") if name.strip())
