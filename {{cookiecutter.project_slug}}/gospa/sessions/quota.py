"""Quotas of a network in this worker: sessions begun and kept, log-ins, and stored bytes."""

from gospa.errors import RateLimited
from gospa.rates import DAY, HOUR, Rates, Visitor, VisitorRates
from gospa.settings import Settings
from gospa.trouble import report_limit


class SessionQuota:
    """The quotas of each network; an empty name is not limited."""

    def __init__(self, settings: Settings) -> None:
        rate, share = settings.sessions_per_hour / HOUR, settings.visitors_per_network
        self._begun, self._kept, self._log_ins = (Rates(rate, HOUR) for _ in range(3))
        self._stored = VisitorRates(settings.stored_per_day / DAY, DAY, share)

    def begin(self, network: str) -> bool:
        """Count a new session; returns whether it may last an hour if it is not used."""
        return self._take(self._begun, network)

    def keep(self, network: str) -> bool:
        """Count a session that was used; returns whether it may last for the idle timeout."""
        return self._take(self._kept, network)

    def log_in(self, network: str) -> None:
        """Count a log-in. Raises RateLimited."""
        if wait := self._log_ins.wait(network):
            report_limit("log_ins", network)
            raise RateLimited("too many log-ins from this address: try again", wait)
        self._log_ins.charge(network)

    def store(self, visitor: Visitor, grown: int) -> None:
        """Count bytes added to a session, or removed. Raises RateLimited."""
        if grown > 0 and (wait := self._stored.wait(visitor, grown)):
            report_limit("bytes", visitor.network)
            raise RateLimited("too much was stored: try again", wait)
        self._stored.charge(visitor, grown)

    @staticmethod
    def _take(rates: Rates, network: str) -> bool:
        if taken := rates.take(network):
            return taken
        report_limit("sessions", network)
        return False
