"""What this worker counts, for those who operate it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Sums since the worker started."""

    behind: int = 0
    """Times that a connection took less than it was sent, and fell behind."""
    skipped: int = 0
    """Writes left out for connections that were behind."""
    stuck: int = 0
    """Connections ended because they took nothing for `drain_timeout`."""
    loads: int = 0
    """Times that a room was loaded again, because its chain of commits had a gap or broke off."""
