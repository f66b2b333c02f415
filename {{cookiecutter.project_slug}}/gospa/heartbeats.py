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
        self._looked: float | None = None
        self._heard: dict[int, float] = {}  # by process id

    def look(self, now: float, beats: Collection[int], alive: Collection[int]) -> list[int]:
        """The process ids of workers that hang.

        `beats` are the process ids of workers that sent a heartbeat since the last check. They send
        the first one when they start, and the others when they serve.
        """
        if self._looked is not None:
            self._clock += min(now - self._looked, STEP)
        self._looked = now
        self._heard |= dict.fromkeys(beats, self._clock)
        self._heard = {pid: heard for pid, heard in self._heard.items() if pid in alive}
        return [pid for pid, heard in self._heard.items() if self._clock - heard > self._timeout]
