"""Delays a connection's requests while its visitor exceeds the fan-out limit."""

import asyncio
from collections.abc import Callable

from gospa.live.limits import Allowance
from gospa.trouble import report

SLOWED = "a visitor's requests wait: what they have sent exceeds GOSPA_FANOUT_PER_SECOND"


class Throttle:
    """Counts what one connection sends to others; above the visitor's limit, its requests wait."""

    def __init__(self, allowance: Allowance, go_on: Callable[[], None]) -> None:
        """`go_on` is called when requests need not wait any more."""
        self.allowance, self._go_on = allowance, go_on
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def waits(self) -> bool:
        """Whether the connection's next request has to wait."""
        return self._timer is not None

    def count(self, size: float, receivers: int) -> None:
        """Count what is sent to others. If that is too much, the next requests wait."""
        self._hold(self.allowance.count_sent(size * receivers))

    def stop(self) -> None:
        """The connection has ended."""
        self._stopped = True
        if self._timer:
            self._timer.cancel()

    def _hold(self, wait: float) -> None:
        if self._timer is None and not self._stopped and wait > 0:
            report("slowed", SLOWED)
            self._timer = self._loop.call_later(wait, self._release)

    def _release(self) -> None:
        self._timer = None
        self._hold(self.allowance.count_sent(0))  # other connections may have sent more
        self._go_on()
