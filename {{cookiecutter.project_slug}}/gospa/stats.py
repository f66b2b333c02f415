"""Counters of this process: plain integers, so that counting costs next to nothing.

`gospa/extras/metrics.py` publishes them. Histograms are lists of counts, one for each of BUCKETS
and one for what took longer; their sums are in seconds.
"""

from dataclasses import dataclass, field

BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5)  # seconds


def _histogram() -> list[int]:
    return [0] * (len(BUCKETS) + 1)


@dataclass(slots=True)
class Stats:
    """Gauges are set; everything else only grows while the process lives."""

    connections: int = 0  # gauge: open sockets
    rooms: int = 0  # gauge: open rooms
    members: int = 0  # gauge: memberships of sockets in rooms
    committed: int = 0  # commits by outcome
    conflicts: int = 0
    repeated: int = 0
    failed: int = 0
    retried: int = 0
    commit_seconds: list[int] = field(default_factory=_histogram)
    commit_seconds_sum: float = 0.0
    fanout_seconds: list[int] = field(default_factory=_histogram)
    fanout_seconds_sum: float = 0.0
    loads_missed: int = 0  # rooms loaded again because a commit had not arrived,
    loads_other: int = 0  # or because the store was at another commit
    behind: int = 0  # times that a connection's buffer was full
    skipped: int = 0  # writes left out for connections that were behind
    stuck: int = 0  # connections closed because the client read nothing for `drain_timeout`
    bytes_sent: int = 0
    bytes_received: int = 0
    reconnects: int = 0  # subscriber connections that broke


STATS = Stats()
