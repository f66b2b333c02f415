"""Detects workers that hang: their event loops have not run for a long time."""

from collections.abc import Collection

STEP = 1.0  # seconds: the most that one check adds to the clock


class Heartbeats:
    """When each worker sent its last heartbeat.

    The clock runs only while the main process runs its checks: time in which the machine slept, or
    was too busy for the main process as well, does not count against workers.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._clock = 0.0
        self._checked: float | None = None
        self._last: dict[int, float] = {}  # by process id

    def check(self, now: float, beats: Collection[int], alive: Collection[int]) -> list[int]:
        """The process ids of workers that hang.

        `beats` are the process ids of workers that sent a heartbeat since the last check. They send
        the first one when they start, and the others when they serve.
        """
        if self._checked is not None:
            self._clock += min(now - self._checked, STEP)
        self._checked = now
        self._last |= dict.fromkeys(beats, self._clock)
        self._last = {pid: last for pid, last in self._last.items() if pid in alive}
        return [pid for pid, last in self._last.items() if self._clock - last > self._timeout]
