"""What this worker counts, for those who operate it."""

from dataclasses import dataclass

from gospa.extras import metrics


@dataclass(slots=True)
class Counters:
    """Sums since the worker started."""

    behind: int = 0  # times that a connection took less than it was sent, and fell behind
    skipped: int = 0  # writes left out for connections that were behind
    stuck: int = 0  # connections ended because they took nothing for `drain_timeout`
    loads_missed: int = 0  # times that a room was loaded again because a commit had not arrived,
    loads_other: int = 0  # or because the store turned out to be at another commit
    sent: int = 0  # bytes written to clients
    received: int = 0  # bytes read from clients

    def tell(self, since: "Counters") -> None:
        """Add to the metrics what was counted since this copy was made."""
        for name, metric in _METRICS.items():
            metric.inc(getattr(self, name) - getattr(since, name))


_METRICS = {
    "behind": metrics.BEHIND,
    "skipped": metrics.SKIPPED,
    "stuck": metrics.STUCK,
    "loads_missed": metrics.LOADS.labels("missed"),
    "loads_other": metrics.LOADS.labels("other"),
    "sent": metrics.BYTES.labels("sent"),
    "received": metrics.BYTES.labels("received"),
}
