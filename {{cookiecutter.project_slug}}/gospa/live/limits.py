"""This worker's limits of visitors: connections, messages, fan-out, rooms created, bytes stored."""

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar

from gospa.errors import Busy, RateLimited
from gospa.rates import BURST, DAY, HOUR, Rates, Visitor, VisitorRates, network_of
from gospa.settings import Settings
from gospa.store.content import RECORD, ROOM
from gospa.trouble import report_limit

MAX_COMMANDS = 64  # of one visitor that are under way
LONGEST = 5.0  # seconds that requests wait at a time: clients expect answers to pings


class TooMany(Exception):
    """A client exceeds a limit of connections or handshakes."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ConnectionLimits:
    """Counts the connections of each session and network, and the handshakes of each network.

    Addresses are those of `network_of`. A client without one is not limited.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sessions: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._handshakes = Rates(settings.handshakes_per_second)

    def admit_handshake(self, address: str) -> None:
        """Count a handshake. Raises TooMany."""
        if not self._handshakes.take(network_of(address)):
            raise TooMany("handshakes_of_address", "too many handshakes from this address")
        self._check_network(address)

    def admit(self, identity: str, address: str) -> None:
        """Check that a session and an address may have one more connection. Raises TooMany."""
        self._check_network(address)  # again, since others may have connected meanwhile
        if self._sessions[identity] >= self._settings.connections_per_session:
            raise TooMany("sockets_of_session", "too many connections of this session")

    def add(self, identity: str, address: str) -> None:
        """Count a connection."""
        self._sessions[identity] += 1
        self._addresses[network_of(address)] += 1

    def remove(self, identity: str, address: str) -> None:
        """Stop counting a connection."""
        for counts, key in ((self._sessions, identity), (self._addresses, network_of(address))):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

    def _check_network(self, address: str) -> None:
        network = network_of(address)
        if network and self._addresses[network] >= self._settings.connections_per_address:
            raise TooMany("sockets_of_address", "too many connections from this address")


class VisitorLimits:
    """The rates at which visitors may send and cause fan-out, and their quotas in the store.

    Fan-out is measured in bytes times receivers, because a small message in a large room is sent
    many times.
    """

    def __init__(self, settings: Settings) -> None:
        self.share = share = settings.visitors_per_network
        self.frames = VisitorRates(settings.frames_per_second, BURST, share)
        self.bytes = VisitorRates(settings.bytes_per_second, BURST, share)
        self.events = VisitorRates(settings.events_per_second, BURST, share)
        self.fanout = VisitorRates(settings.fanout_per_second, BURST, share, LONGEST)
        self.commands: Counter[str] = Counter()  # under way, by session and by network
        self.rooms = VisitorRates(settings.rooms_per_hour / HOUR, HOUR, share)
        self.stored = VisitorRates(settings.stored_per_day / DAY, DAY, share)


class Allowance:
    """One visitor's limits."""

    def __init__(self, limits: VisitorLimits, visitor: Visitor) -> None:
        self._limits, self.visitor = limits, visitor

    def slow(self, frames: int, received: int) -> float:
        """Count what a connection of the visitor sent; returns how long to pause reading."""
        by_frames = self._limits.frames.charge(self.visitor, frames)
        return max(by_frames, self._limits.bytes.charge(self.visitor, received))

    def admit_event(self, size: int, receivers: int) -> None:
        """Count an event. Raises RateLimited above the limit, and then counts nothing."""
        sent = size * receivers
        if self._limits.events.wait(self.visitor):
            report_limit("events", self.visitor.network)
            raise RateLimited("too many events: send fewer")
        if self._limits.fanout.wait(self.visitor, sent):
            report_limit("fanout", self.visitor.network)
            raise RateLimited(f"too much for {receivers} members: send less")
        self._limits.events.charge(self.visitor)
        self._limits.fanout.charge(self.visitor, sent)

    def count_sent(self, size: float) -> float:
        """Count bytes that others are sent; returns for how long further requests have to wait."""
        return self._limits.fanout.charge(self.visitor, size)

    def begin_command(self) -> Callable[[object], None]:
        """Count a command, until what this returns is called. Raises Busy and RateLimited."""
        counts, (session, network) = self._limits.commands, self.visitor
        if counts[session] >= MAX_COMMANDS:
            raise Busy(f"{MAX_COMMANDS} of your commands are under way: wait for one to end")
        if counts[network] >= MAX_COMMANDS * self._limits.share:
            raise Busy("too many commands from this address are under way: wait for one to end")
        self.make_record()
        used = [key for key in self.visitor if key]  # a client without an address has no limit
        counts.update(used)

        def end(_: object) -> None:
            for key in used:
                counts[key] -= 1
                if not counts[key]:
                    del counts[key]

        return end

    def create_room(self) -> None:
        """Count a room that the visitor creates by a visit. Raises RateLimited."""
        self.check(1, 0)
        self.add(1, 0)

    def make_record(self) -> None:
        """Count the record of a new source of mutations. Raises RateLimited."""
        self.check(0, RECORD)
        self.add(0, RECORD)

    def check(self, rooms: int, stored: int) -> None:
        """Raise RateLimited if the visitor may not create or store so much now."""
        if rooms > 0 and (wait := self._limits.rooms.wait(self.visitor, rooms)):
            report_limit("rooms", self.visitor.network)
            raise RateLimited("too many new rooms: try again", wait)
        if stored > 0 and (wait := self._limits.stored.wait(self.visitor, stored)):
            report_limit("bytes", self.visitor.network)
            raise RateLimited("too much was stored: remove something, or try again", wait)

    def add(self, rooms: int, stored: int) -> None:
        """Count rooms created and bytes stored; negative numbers credit what was deleted."""
        if rooms:
            self._limits.rooms.charge(self.visitor, rooms)
        if stored:
            self._limits.stored.charge(self.visitor, stored)


# The visitor on whose behalf code runs: set in the context of a connection and of its commands.
ALLOWANCE: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


class Bill:
    """What one change adds to the store, counted for its visitor.

    The change may run again before it is committed: then the previous run is credited first.
    """

    __slots__ = ("_allowance", "_rooms", "grown")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._rooms = self.grown = 0  # `grown`: bytes

    @property
    def visitor(self) -> Visitor:
        return self._allowance.visitor

    def charge(self, rooms: int, grown: int) -> None:
        """Count what the latest run adds. Raises RateLimited, and then counts nothing."""
        self.refund()
        if rooms or grown:
            self._allowance.check(rooms, grown + ROOM * rooms)
            self._allowance.add(rooms, grown + ROOM * rooms)
            self._rooms, self.grown = rooms, grown

    def refund(self) -> None:
        """Credit what was counted: it is not stored."""
        if self._rooms or self.grown:
            self._allowance.add(-self._rooms, -self.grown - ROOM * self._rooms)
            self._rooms = self.grown = 0


def bill_of_caller() -> Bill | None:
    """For a change by a visitor's command; None if the application itself makes it."""
    allowance = ALLOWANCE.get()
    return Bill(allowance) if allowance else None
