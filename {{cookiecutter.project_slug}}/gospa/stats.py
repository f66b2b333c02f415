"""Counters of this process: plain integers, so that counting is cheap.

`gospa/extras/metrics.py` publishes them. Histograms are lists of counts, one for each of BUCKETS
and one for longer times; their sums are in seconds.
"""

from dataclasses import dataclass, field, fields

BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5)  # seconds

# Reasons of refusals and losses: see `trouble.report`.
REASONS = (
    # of a handshake or a request
    *("foreign_origin", "foreign_host", "not_logged_in", "bad_handshake"),
    *("handshakes_of_address", "sockets_of_address", "sockets_of_session"),
    # of an HTTP request
    *("request_rate", "request_unfinished", "request_size", "request_time", "request_form"),
    "connections_of_address",
    # of a socket
    *("no_hello", "malformed", "too_fast"),
    # limits of visitors and networks, and what is delayed or shortened because of them
    *("limit_frames", "limit_rooms", "limit_bytes", "limit_sessions", "limit_log_ins"),
    *("limit_events", "limit_fanout", "slowed"),
    # resources of the operating system
    "descriptors",
    # of a store
    *("store_full", "store_denied", "store_read_only", "store_disk", "store_replicas"),
    *("store_corrupt", "store_unreachable", "store_unavailable", "store_refused"),
    # of an action
    "slow_action",
)


def _reasons() -> list[int]:
    return [0] * len(REASONS)


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
    action_seconds: list[int] = field(default_factory=_histogram)
    action_seconds_sum: float = 0.0
    commit_seconds: list[int] = field(default_factory=_histogram)
    commit_seconds_sum: float = 0.0
    fanout_seconds: list[int] = field(default_factory=_histogram)
    fanout_seconds_sum: float = 0.0
    alarms: int = 0  # of rooms that were run,
    alarms_failed: int = 0  # and that raised, or for which the store failed
    loads_missed: int = 0  # rooms loaded again because a commit had not arrived,
    loads_other: int = 0  # or because the store was at another commit
    behind: int = 0  # times that a connection's buffer was full
    skipped: int = 0  # writes left out for connections that were behind
    stuck: int = 0  # connections closed because the client read too little in `drain_timeout`,
    stuck_memory: int = 0  # or because too much waited for such clients
    unlisted: int = 0  # members who got an error that others do not see them
    bytes_sent: int = 0
    bytes_received: int = 0
    reconnects: int = 0  # subscriber connections that broke
    trouble: list[int] = field(default_factory=_reasons)  # by REASONS
    workers_died: int = 0  # in the main process: workers that were replaced,
    workers_hung: int = 0  # and those of them that were killed because they hung

    def of(self, reason: str) -> int:
        """How often there was trouble for one of REASONS."""
        return self.trouble[REASONS.index(reason)]

    def reset(self) -> None:
        """Set everything to zero."""
        zero = Stats()
        for each in fields(self):
            setattr(self, each.name, getattr(zero, each.name))


STATS = Stats()
