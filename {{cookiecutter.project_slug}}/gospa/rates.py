"""Rate limits and quotas by key (token buckets), and what counts as one client address."""

from collections.abc import Hashable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from math import inf
from time import monotonic
from typing import NamedTuple

BURST = 10.0  # seconds' worth of a rate that may come at once, by default
MOST = 10_000  # keys of one limit
ROUNDING = 1e-6  # seconds: the error that sums of floats may have
HOUR, DAY = 3600.0, 86400.0  # seconds
NAT64 = IPv6Network("64:ff9b::/96")  # the addresses of IPv4 clients on IPv6-only servers
PREFIX = 64  # bits of an IPv6 address that one subscriber has at least


@lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """The client's IPv4 address, or the /64 network of its IPv6 address: what limits count.

    Ports and zones are removed. Other texts, which some proxies send, are returned unchanged, such
    as "" for a client without an address, as on a unix socket.
    """
    text = address.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in NAT64:
            inner = IPv4Address(int(ip) & 0xFFFFFFFF)
        return str(inner or IPv6Network((ip, PREFIX), strict=False))
    return str(ip)


class Visitor(NamedTuple):
    """The subject of limits: a session, and the network from which it is used."""

    session: str
    network: str


def charge(paid: float, now: float, amount: float, rate: float) -> float:
    """The time by which `amount` more is paid for, at `rate` a second. Both times in seconds.

    A rate limit is a token bucket in the form of the generic cell rate algorithm: one number, the
    time by which everything so far is paid for. It may be ahead of now by as long as a burst lasts.
    https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
    """
    return max(paid, now) + amount / rate


class Rates:
    """One limit, for each of many keys: `rate` a second, and `burst` seconds' worth at once.

    An empty key is not limited. Memory is bounded: keys with a full bucket are dropped, and if that
    is not enough, the least recently used keys.
    """

    def __init__(self, rate: float, burst: float = BURST, longest: float = inf) -> None:
        """`longest`: the most seconds until the limit is kept again, however much was charged."""
        self._rate, self._burst, self._longest = rate, burst, longest
        self._paid: dict[Hashable, float] = {}  # the most recently used key is the last one

    def __len__(self) -> int:
        return len(self._paid)

    def wait(self, key: Hashable, amount: float = 1) -> float:
        """The seconds until `amount` may be taken, 0 if it may be now."""
        now = monotonic()
        paid = charge(self._paid.get(key, now), now, amount, self._rate)
        return self._above(paid, now) if key else 0.0

    def charge(self, key: Hashable, amount: float = 1) -> float:
        """Take `amount`, even if less is left, or give it back if negative.

        Returns the seconds until the limit is kept again.
        """
        if not key:
            return 0.0
        now = monotonic()
        paid = self._paid.pop(key, now)
        # As `charge` and `_above`, without calls: this runs six times for each mutation.
        paid = max(paid, now) + amount / self._rate
        wait = paid - now - self._burst
        if wait > self._longest:
            paid, wait = now + self._burst + self._longest, self._longest
        self._paid[key] = paid
        if len(self._paid) > MOST:
            self._forget(now)
        return wait if wait > ROUNDING else 0.0

    def take(self, key: Hashable, amount: float = 1) -> bool:
        """Take `amount` if that much is left."""
        if self.wait(key, amount):
            return False
        self.charge(key, amount)
        return True

    def _above(self, paid: float, now: float) -> float:
        wait = paid - now - self._burst
        return wait if wait > ROUNDING else 0.0

    def _forget(self, now: float) -> None:
        owing = [(key, paid) for key, paid in self._paid.items() if paid > now]
        self._paid = dict(owing[-max(1, MOST * 3 // 4) :])


class VisitorRates:
    """A limit for each session, and `share` times as much for each network.

    Anybody can begin many sessions, so a limit for sessions alone would not be effective. People
    behind one address share its limit, so it has to be larger.
    """

    def __init__(self, rate: float, burst: float, share: int, longest: float = inf) -> None:
        self._sessions = Rates(rate, burst, longest)
        self._networks = Rates(rate * share, burst, longest)

    def wait(self, visitor: Visitor, amount: float = 1) -> float:
        """The seconds until `amount` may be taken, 0 if it may be now."""
        session = self._sessions.wait(visitor.session, amount)
        return max(session, self._networks.wait(visitor.network, amount))

    def charge(self, visitor: Visitor, amount: float = 1) -> float:
        """Take `amount`, or give it back if negative.

        Returns the seconds until the limit is kept again.
        """
        session = self._sessions.charge(visitor.session, amount)
        return max(session, self._networks.charge(visitor.network, amount))
