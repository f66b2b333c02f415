"""What REDIS_URL says: one server, sentinels or a cluster (docs/redis.md)."""

from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import SSLConnection, parse_url

_PORTS = {"sentinel": 26379, "cluster": 6379}


@dataclass(frozen=True, slots=True)
class Address:
    """`form` is "" for one server, "sentinel" or "cluster"."""

    form: str
    nodes: list[tuple[str, int]]
    service: str
    options: dict[str, Any]


def parse_address(url: str) -> Address:
    """Read REDIS_URL, in which a form other than one server follows a plus sign. Raises ValueError.

    The query holds further options of redis-py's connections, such as `ssl_ca_certs`.
    """
    scheme, _, rest = url.partition("://")
    scheme, _, form = scheme.partition("+")
    if not form:
        return Address("", [], "", dict(parse_url(url)))
    rest, _, query = rest.partition("?")
    place, _, path = rest.partition("/")
    credentials, at, hosts = place.rpartition("@")
    service = ""
    if form == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ValueError("the name of the master is missing: redis+sentinel://host:26379/name")
    options: dict[str, Any] = dict(parse_url(f"{scheme}://{credentials}{at}/{path}?{query}"))
    options["ssl"] = options.pop("connection_class", None) is SSLConnection
    read = [parse_url(f"redis://{host}") for host in hosts.split(",")]
    nodes = [(node.get("host", "localhost"), node.get("port", _PORTS[form])) for node in read]
    return Address(form, nodes, service, options)
