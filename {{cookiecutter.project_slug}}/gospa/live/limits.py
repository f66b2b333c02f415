"""Limits on how many connections a session and an address may have, and how fast they come."""

from collections import Counter
from time import monotonic

from gospa.live.connection import BURST, charge
from gospa.settings import Settings

MAX_ADDRESSES = 10_000  # whose handshakes are counted at a time


class TooMany(Exception):
    """A client has, or asks for, more connections than it may."""


class ConnectionLimits:
    """Counts the connections of each session and address, and the handshakes of each address.

    An address is "" where the client has none, as on a unix socket; it is not limited.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sessions: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._handshakes: dict[str, float] = {}  # when those of an address are paid for

    def admit_handshake(self, address: str) -> None:
        """Count a handshake. Raises TooMany."""
        if not address:
            return
        now = monotonic()
        if len(self._handshakes) >= MAX_ADDRESSES:  # bounds the memory
            self._handshakes.clear()
        rate = self._settings.handshakes_per_second
        paid = charge(self._handshakes.get(address, now), now, 1, rate)
        self._handshakes[address] = paid
        if paid > now + BURST:
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
