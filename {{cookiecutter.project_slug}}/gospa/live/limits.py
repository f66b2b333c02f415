"""Limits on what clients may send, and on how many connections they may have."""

import asyncio
from collections import Counter

from gospa.settings import Settings

BURST = 10.0  # seconds' worth of a rate may come at once
MAX_ADDRESSES = 10_000  # whose handshakes are counted at a time


class TooMany(Exception):
    """A client has, or asks for, more connections than it may."""


class TokenBucket:
    """A rate limit: fills by `rate` each second, and holds ten seconds' worth."""

    __slots__ = ("_filled", "_left", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._left = rate * BURST
        self._filled = now

    def take(self, amount: float, now: float) -> bool:
        """Take `amount`, even beyond what is left; returns whether enough was left."""
        filled = self._left + (now - self._filled) * self._rate
        self._left = min(filled, self._rate * BURST) - amount
        self._filled = now
        return self._left >= 0


class ConnectionLimits:
    """Counts the connections of each session and address, and the handshakes of each address.

    An address is "" where the client has none, as on a unix socket; it is not limited.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sessions: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._handshakes: dict[str, TokenBucket] = {}

    def admit_handshake(self, address: str) -> None:
        """Count a handshake. Raises TooMany."""
        if not address:
            return
        now = asyncio.get_running_loop().time()
        if len(self._handshakes) >= MAX_ADDRESSES:  # a client with so many is not held up by this
            self._handshakes.clear()
        rate = self._settings.handshakes_per_second
        if not self._handshakes.setdefault(address, TokenBucket(rate, now)).take(1, now):
            raise TooMany("too many handshakes from this address")
        self._check_address(address)

    def admit(self, identity: str, address: str) -> None:
        """Check that a session and an address may have one more connection. Raises TooMany."""
        self._check_address(address)  # again, since others may have connected meanwhile
        if self._sessions[identity] >= self._settings.connections_per_session:
            raise TooMany("too many connections of this session")

    def add(self, identity: str, address: str) -> None:
        """Count a connection."""
        self._sessions[identity] += 1
        self._addresses[address] += 1

    def remove(self, identity: str, address: str) -> None:
        """Count a connection no longer."""
        for counts, key in ((self._sessions, identity), (self._addresses, address)):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

    def _check_address(self, address: str) -> None:
        if address and self._addresses[address] >= self._settings.connections_per_address:
            raise TooMany("too many connections from this address")
