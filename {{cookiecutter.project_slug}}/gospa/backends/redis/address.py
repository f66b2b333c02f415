"""Parses REDIS_URL: one server, sentinels or a cluster (docs/redis.md)."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

# Other options would change behaviour that the application relies on, such as `decode_responses`.
_OPTIONS = {
    *("db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"),
    *("sentinel_username", "sentinel_password"),
}
_PORTS = {"sentinel": 26379, "cluster": 6379}


@dataclass(frozen=True, slots=True)
class Address:
    """`form` is "" for one server, "sentinel" or "cluster"."""

    form: str
    nodes: list[tuple[str, int]]
    service: str
    options: dict[str, Any]


def parse_address(url: str) -> Address:
    """Parse REDIS_URL, in which `+sentinel` or `+cluster` follows the scheme. Raises ValueError.

    The query holds further options of redis-py's connections, such as `ssl_ca_certs`.
    """
    scheme, _, rest = url.partition("://")
    scheme, _, form = scheme.partition("+")
    # Several hosts are no valid URL: newer versions of `urlsplit` refuse `a,[::1]`.
    options = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    if unknown := sorted({name for name, _ in options} - _OPTIONS):
        raise ValueError(
            f"it has the unknown option {unknown[0]}; the known ones are "
            f"{', '.join(sorted(_OPTIONS))} (docs/redis.md)"
        )
    if not form:
        return Address("", [], "", _options(url))
    rest, _, query = rest.partition("?")
    place, _, path = rest.partition("/")
    credentials, at, hosts = place.rpartition("@")
    if "," in hosts and not all(hosts.split(",")):
        raise ValueError("a host is missing: separate hosts by one comma")
    service = ""
    if form == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ValueError("the name of the master is missing: redis+sentinel://host:26379/name")
    own = _options(f"{scheme}://{credentials}{at}/{path}?{query}")
    own["ssl"] = own.pop("connection_class", None) is SSLConnection
    read = [_options(f"redis://{host}") for host in hosts.split(",")]
    nodes = [(node.get("host", "localhost"), node.get("port", _PORTS[form])) for node in read]
    return Address(form, nodes, service, own)


def _options(url: str) -> dict[str, Any]:
    """The options that redis-py reads from a URL. Raises ValueError without password parts."""
    try:
        options = dict(parse_url(url))
    except ValueError as error:
        if "Port" in str(error):  # its text may have a part of the password, if there is no host
            raise ValueError("the port is not a number up to 65535") from None
        raise
    if url.startswith("unix:") and "path" not in options:
        raise ValueError("the path of a socket begins with a slash: unix:///run/redis.sock")
    if "path" not in options and not re.fullmatch(r"(/[0-9]*)?", urlsplit(url).path):
        raise ValueError("the database is not a number")  # redis-py would use another one
    return options
