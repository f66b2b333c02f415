"""Delays before a failed operation is retried."""

import random
from collections.abc import Callable
from typing import TypeAlias

UNAVAILABLE = (0.3, 5.0)  # seconds: backoff while the server's store is unavailable

Later: TypeAlias = Callable[[float, Callable[[], None]], object]


def backoff(attempt: int, first: float, longest: float) -> float:
    """Full jitter: seconds up to a bound that doubles with each attempt, from 0 on."""
    bound = min(longest, first * 2.0 ** min(attempt, 64))
    return random.uniform(0, bound)  # noqa: S311 - jitter, not a secret


class Retry:
    """Calls a function after a delay, which grows with each call until a success."""

    def __init__(self, later: Later, function: Callable[[], None]) -> None:
        """`later` calls a function after that many seconds."""
        self._later, self._function = later, function
        self._attempt = 0
        self.waiting = False

    def start(self) -> None:
        """Schedule the function, unless it is already scheduled."""
        if not self.waiting:
            self.waiting = True
            self._later(backoff(self._attempt, *UNAVAILABLE), self._call)
            self._attempt += 1

    def cancel(self) -> None:
        """Cancel the scheduled call."""
        self.waiting = False

    def succeed(self) -> None:
        """Start again with short delays."""
        self._attempt = 0

    def _call(self) -> None:
        if self.waiting:
            self.waiting = False
            self._function()
