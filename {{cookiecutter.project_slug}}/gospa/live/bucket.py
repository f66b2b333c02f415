"""How much of something may come in a time."""

BURST = 10.0  # seconds' worth may come at once


class TokenBucket:
    """Fills by `rate` each second, and holds ten seconds' worth."""

    __slots__ = ("_filled", "_left", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._left = rate * BURST
        self._filled = now

    def take(self, amount: float, now: float) -> bool:
        """Whether there was so much in it; if not, it is taken nevertheless."""
        self._fill(now)
        self._left -= amount
        return self._left >= 0

    def full(self, now: float) -> bool:
        """Whether it says nothing that a new one would not."""
        self._fill(now)
        return self._left >= self._rate * BURST

    def _fill(self, now: float) -> None:
        left = self._left + (now - self._filled) * self._rate
        self._left, self._filled = min(left, self._rate * BURST), now
