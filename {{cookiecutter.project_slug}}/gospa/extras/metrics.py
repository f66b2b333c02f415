"""What the workers of this host count and measure, for Prometheus.

Each process writes to files of its own, which whoever answers a scrape adds up
(https://prometheus.github.io/client_python/multiprocess/).
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.registry import CollectorRegistry

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # read by the library when a worker imports it
SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5)

CONNECTIONS = Gauge("gospa_connections", "Open sockets", multiprocess_mode="livesum")
ROOMS = Gauge("gospa_rooms", "Rooms open in a worker, summed", multiprocess_mode="livesum")
MEMBERS = Gauge("gospa_members", "Memberships of sockets in rooms", multiprocess_mode="livesum")
COMMITS = Counter("gospa_commits", "Mutations by outcome", ["outcome"])
COMMIT_SECONDS = Histogram("gospa_commit_seconds", "From store and back", buckets=SECONDS)
FANOUT_SECONDS = Histogram(
    "gospa_fanout_seconds", "Writing to a room's members in one worker", buckets=SECONDS
)
LOADS = Counter("gospa_loads", "Rooms loaded again, by cause", ["cause"])
BEHIND = Counter("gospa_behind", "Times that a client fell behind")
SKIPPED = Counter("gospa_skipped", "Writes of patches and events left out for clients behind")
STUCK = Counter("gospa_stuck", "Sockets closed because they took nothing")
BYTES = Counter("gospa_bytes", "Bytes of frames, by direction", ["direction"])
RECONNECTS = Counter("gospa_redis_reconnects", "Subscriber connections to Redis that broke")


@contextmanager
def shared() -> Iterator[None]:
    """For the main process: a folder in which its workers put what they count."""
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


def remove_shared() -> None:
    """For a worker whose main process was killed, and left the folder behind."""
    if FOLDER in os.environ:
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)  # another worker may be at it


def exposition() -> bytes:
    """The sums over all workers, in Prometheus' text format."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return generate_latest()
    _forget_dead(Path(folder))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _forget_dead(folder: Path) -> None:
    """Leave out what workers that are gone had open."""
    for path in folder.glob("gauge_live*.db"):
        pid = int(re.findall(r"\d+", path.stem)[-1])
        try:
            os.kill(pid, 0)
        except OSError:  # its number may be that of another user's process by now
            with suppress(FileNotFoundError):  # another worker was faster
                multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
