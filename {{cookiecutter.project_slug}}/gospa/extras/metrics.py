"""Publishes `gospa.STATS` of all workers of this host at /health/metrics, for Prometheus.

A scrape reaches an arbitrary worker. So each process copies its numbers into its row of shared
memory once a second, and the worker that answers sums the rows. There are no files that a killed
process could leave behind.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterator, MutableSequence
from contextlib import suppress
from dataclasses import fields
from itertools import accumulate, groupby
from operator import itemgetter

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import CollectorRegistry
from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.response import raw

from gospa import BUCKETS, REASONS, STATS, shared, tasks

INTERVAL = 1.0  # seconds between copies, and between renderings of the page
ROWS = 64  # at least; each worker has two, because its successor may start before it ends
MAIN = -1  # the index of the main process

GAUGES = ("connections", "rooms", "members")
COUNTERS = (  # name, label, its value, and the number in STATS
    ("commits", "outcome", "commit", "committed"),
    ("commits", "outcome", "conflict", "conflicts"),
    ("commits", "outcome", "failed", "failed"),
    ("commits", "outcome", "repeated", "repeated"),
    ("commits", "outcome", "retried", "retried"),
    ("loads", "cause", "missed", "loads_missed"),
    ("loads", "cause", "other", "loads_other"),
    ("alarms", "outcome", "run", "alarms"),
    ("alarms", "outcome", "failed", "alarms_failed"),
    ("bytes", "direction", "received", "bytes_received"),
    ("bytes", "direction", "sent", "bytes_sent"),
    ("behind", "", "", "behind"),
    ("skipped", "", "", "skipped"),
    ("stuck", "cause", "rate", "stuck"),
    ("stuck", "cause", "memory", "stuck_memory"),
    ("unlisted", "", "", "unlisted"),
    ("redis_reconnects", "", "", "reconnects"),
    ("workers_died", "", "", "workers_died"),
    ("workers_hung", "", "", "workers_hung"),
)
HISTOGRAMS = ("action_seconds", "commit_seconds", "fanout_seconds")
HELP = {
    "connections": "Open sockets",
    "rooms": "Open rooms, summed over workers",
    "members": "Memberships of sockets in rooms",
    "commits": "Commits by outcome",
    "loads": "Rooms loaded again, by cause",
    "alarms": "Alarms of rooms, by outcome",
    "bytes": "Bytes of frames, by direction",
    "behind": "Times that a client fell behind",
    "skipped": "Patches and events not written to clients that are behind",
    "stuck": "Sockets closed because the client read too slowly, by cause",
    "unlisted": "Members who are not in their room's list, because it is full",
    "redis_reconnects": "Subscriber connections to Redis that broke",
    "trouble": "Refusals, limits reached and losses, by reason",
    "workers_died": "Workers that died and were replaced",
    "workers_hung": "Workers that were killed because they hung; they died as well",
    "action_seconds": "Time to run one action, which blocks its worker",
    "commit_seconds": "Time of a commit, from a worker to the store and back",
    "fanout_seconds": "Time to write to a room's members in one worker",
}

blueprint = Blueprint("metrics")


def install(app: Sanic) -> None:
    """Serve the metrics. Set GOSPA_HEALTH_ADDRESS, so that they are not public."""
    app.blueprint(blueprint)

    @app.main_process_start
    async def share(app: Sanic) -> None:
        rows = max(ROWS, 2 * app.state.workers + 2)
        app.shared_ctx.metrics = shared.share_numbers(rows * WIDTH)
        table = Table(shared.open_numbers(app.shared_ctx.metrics), MAIN)
        threading.Thread(target=table.run_in_thread, name="metrics", daemon=True).start()

    @app.before_server_start
    async def start(app: Sanic) -> None:
        if memory := getattr(app.shared_ctx, "metrics", None):
            index = int(app.multiplexer.name.split("-")[-2])
            app.ctx.metrics = Table(shared.open_numbers(memory), index)
        else:  # a single process
            app.ctx.metrics = Table([0.0] * 2 * WIDTH, 0)
        app.ctx.metrics_task = tasks.keep_running(app.ctx.metrics.run, "metrics")

    @app.before_server_stop
    async def stop(app: Sanic) -> None:
        await tasks.stop(app.ctx.metrics_task)


@blueprint.get("/health/metrics")
async def show(request: Request) -> HTTPResponse:
    """All workers of this host, in Prometheus' text format."""
    table: Table = request.app.ctx.metrics
    return raw(table.page(), content_type=CONTENT_TYPE_LATEST)


def exposition(table: "Table") -> bytes:
    """The sums of a table in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(Families(table.sums()))
    return generate_latest(registry)


def _row() -> list[tuple[str, float]]:
    """STATS with their names; a histogram has several numbers of one name."""
    row: list[tuple[str, float]] = []
    for field in fields(STATS):
        value = getattr(STATS, field.name)
        row += [(field.name, each) for each in (value if isinstance(value, list) else [value])]
    return row


NAMES = [name for name, _ in _row()]
WIDTH = 1 + len(NAMES)  # with the process id first


class Table:
    """Rows of numbers, one for each process. Workers of one index use two rows in turn.

    Sanic increments the index whenever it scales, so these rows may not exist, or may be in use;
    then a worker uses any row whose process has ended.

    A worker continues the counters of the previous process in its row, so that sums never fall;
    its gauges count only while it runs.
    """

    def __init__(self, cells: MutableSequence[float], index: int) -> None:
        self._cells = cells
        self._before: list[float] = []
        self._row: int | None = None
        self._page, self._due = b"", 0.0
        rows = len(cells) // WIDTH
        for row in [(2 * index + step) % rows for step in range(rows)]:
            if not _lives(int(cells[row * WIDTH])):
                self._row = row
                self._before = self._read(row)[1:]
                break

    async def run(self) -> None:
        """Publish this process's numbers until cancelled."""
        while True:
            self.publish()
            await asyncio.sleep(INTERVAL)

    def run_in_thread(self) -> None:
        """Publish the main process's numbers forever."""
        while True:
            self.publish()
            time.sleep(INTERVAL)

    def publish(self) -> None:
        """Copy STATS into this process's row, if it has one."""
        if self._row is None:
            return
        row = [
            value if name in GAUGES else value + before
            for (name, value), before in zip(_row(), self._before, strict=True)
        ]
        for cell, value in enumerate([float(os.getpid()), *row], start=self._row * WIDTH):
            self._cells[cell] = value

    def page(self) -> bytes:
        """The exposition, rendered at most once a second."""
        now = time.monotonic()
        if now >= self._due:
            self.publish()
            self._page, self._due = exposition(self), now + INTERVAL
        return self._page

    def sums(self) -> dict[str, list[float]]:
        """The sum over all processes of each of STATS; histograms have several numbers."""
        sums: dict[str, list[float]] = {}
        rows = [self._read(row) for row in range(len(self._cells) // WIDTH)]
        for position, name in enumerate(NAMES, start=1):
            counted = [row for row in rows if name not in GAUGES or _lives(int(row[0]))]
            sums.setdefault(name, []).append(sum(row[position] for row in counted))
        return sums

    def _read(self, row: int) -> list[float]:
        return list(self._cells[row * WIDTH : (row + 1) * WIDTH])


def _lives(pid: int) -> bool:
    if not pid:
        return False
    with suppress(OSError):  # it ended, or its id now belongs to another user's process
        os.kill(pid, 0)
        return True
    return False


class Families:
    """These sums for `prometheus_client`."""

    def __init__(self, sums: dict[str, list[float]]) -> None:
        self._sums = sums

    def collect(self) -> Iterator[Metric]:
        for name in GAUGES:
            yield GaugeMetricFamily(f"gospa_{name}", HELP[name], value=self._sums[name][0])
        for (name, label), values in groupby(COUNTERS, itemgetter(0, 1)):
            labels = [label] if label else []
            counter = CounterMetricFamily(f"gospa_{name}", HELP[name], labels=labels)
            for _, _, value, counted in values:
                counter.add_metric([value] if label else [], self._sums[counted][0])
            yield counter
        trouble = CounterMetricFamily("gospa_trouble", HELP["trouble"], labels=["reason"])
        for reason, count in zip(REASONS, self._sums["trouble"], strict=True):
            trouble.add_metric([reason], count)
        yield trouble
        bounds = [*map(str, BUCKETS), "+Inf"]
        for name in HISTOGRAMS:
            buckets = list(zip(bounds, accumulate(self._sums[name]), strict=True))
            total = self._sums[f"{name}_sum"][0]
            yield HistogramMetricFamily(
                f"gospa_{name}", HELP[name], buckets=buckets, sum_value=total
            )
