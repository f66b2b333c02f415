"""What Prometheus is told, and whether the dashboard asks for things that there are."""

import json
import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gospa.extras.metrics import WIDTH, Table, exposition
from gospa.settings import Settings
from gospa.stats import Stats
from gospa.testing import until
from tests.gospa.process.server import launch
from tests.gospa.raw_client import ConnectRaw

DASHBOARD = Path(__file__).parents[3] / "deploy/grafana.json"


def samples(exposition: str) -> dict[str, float]:
    """The value of each sample, by its name and labels."""
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


@pytest.mark.slow
async def test_work_shows_in_the_metrics(address: str, connect_raw: ConnectRaw) -> None:
    async def told() -> dict[str, float]:
        async with httpx.AsyncClient() as client:
            return samples((await client.get(f"http://{address}/health/metrics")).text)

    before = await told()
    async with connect_raw() as member, connect_raw() as other:
        await member.join("sheet/a")
        await other.join("sheet/a")
        for _ in range(5):
            await member.call("sheet/a", "add")
        await other.sees("sheet/a", lambda state: state["count"] == 5)

        async def all_told() -> bool:
            now = await told()
            commits = "gospa_commits_total commit"
            return (
                now["gospa_connections"] == 2
                and now["gospa_rooms"] == 1
                and now["gospa_members"] == 2
                and now[commits] - before.get(commits, 0) == 5
                and now["gospa_bytes_total sent"] > before["gospa_bytes_total sent"]
                and now["gospa_bytes_total received"] > before["gospa_bytes_total received"]
                and now["gospa_commit_seconds_count"] >= 5
                and now["gospa_fanout_seconds_count"] >= 1
            )

        await until(all_told)


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The processes that live."""
    pids = {os.getpid()}

    def kill(pid: int, _: int) -> None:
        if pid not in pids:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    return pids


def publish(cells: list[float], monkeypatch: pytest.MonkeyPatch, pid: int, index: int = 0) -> Table:
    """What the worker of this process id and index counted, as it publishes it."""
    monkeypatch.setattr(os, "getpid", lambda: pid)
    table = Table(cells, index)
    table.publish()
    return table


def test_numbers_of_all_workers_are_added(
    stats: Stats, alive: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [0.0] * 4 * WIDTH
    alive |= {1, 2}
    stats.committed, stats.connections, stats.commit_seconds[3] = 5, 2, 7
    publish(cells, monkeypatch, 1)
    sums = publish(cells, monkeypatch, 2, index=1).sums()
    assert (sums["committed"], sums["connections"]) == ([10], [4])
    assert sums["commit_seconds"][2:5] == [0, 14, 0]


def test_a_successor_goes_on_from_the_counters_of_a_dead_worker_and_not_from_its_gauges(
    stats: Stats, alive: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [0.0] * 4 * WIDTH
    alive.add(1)
    stats.committed, stats.connections = 5, 2
    table = publish(cells, monkeypatch, 1)
    alive.remove(1)
    assert (table.sums()["committed"], table.sums()["connections"]) == ([5], [0])
    alive.add(2)
    stats.committed, stats.connections = 1, 1
    sums = publish(cells, monkeypatch, 2).sums()
    assert (sums["committed"], sums["connections"]) == ([6], [1])


def test_a_worker_that_starts_before_its_predecessor_ends_has_a_row_of_its_own(
    stats: Stats, alive: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [0.0] * 4 * WIDTH
    alive |= {1, 2, 3}
    stats.committed = 5
    old = publish(cells, monkeypatch, 1)
    new = publish(cells, monkeypatch, 2)
    assert old.sums()["committed"] == new.sums()["committed"] == [10]
    publish(cells, monkeypatch, 3)  # both rows of its index are taken: it uses another
    assert old.sums()["committed"] == [15]
    alive |= {4, 5}
    publish(cells, monkeypatch, 4)
    fifth = publish(cells, monkeypatch, 5)  # there is no row for it: it counts for itself alone
    assert fifth.sums()["committed"] == [20]


def test_workers_are_counted_however_often_the_application_was_scaled(
    stats: Stats, alive: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [0.0] * 4 * WIDTH
    alive |= {1, 2}
    stats.committed = 5
    publish(cells, monkeypatch, 1)
    sums = publish(cells, monkeypatch, 2, index=40).sums()
    assert sums["committed"] == [10]


def test_the_dashboard_asks_for_what_there_is() -> None:
    families = text_string_to_metric_families(exposition(Table([0.0] * 2 * WIDTH, 0)).decode())
    known = {
        f"{family.name}{suffix}"
        for family in families
        if family.name.startswith("gospa_") and not family.name.endswith("_created")
        for suffix in {"counter": ["_total"], "histogram": ["_bucket"]}.get(family.type, [""])
    }
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"gospa_\w+", target["expr"])
    }
    assert asked == known


def test_a_page_is_made_once_a_second_however_often_it_is_asked_for(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    table = Table([0.0] * 2 * WIDTH, 0)

    def committed() -> float:
        return samples(table.page().decode())["gospa_commits_total commit"]

    now = 5.0
    stats.committed = 1
    assert committed() == 1
    stats.committed = 2
    now = 5.9
    assert committed() == 1
    now = 6.1
    assert committed() == 2


@pytest.mark.slow
async def test_metrics_are_of_all_workers_and_of_none_that_died(
    settings: Settings, tmp_path: Path
) -> None:
    with launch(settings, tmp_path, "--workers=2") as server:
        await server.ready()
        await server.pids(2)

        async def connections() -> float:
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://{server.address}/health/metrics")
            return samples(answer.text)["gospa_connections"]

        async def are(count: int) -> None:
            async def counted() -> bool:
                return await connections() == count

            await until(counted)

        async with server.members(2) as members:
            await are(2)
            os.kill(members[0].pid, signal.SIGKILL)
            await members[0].websocket.wait_closed()
            await are(1)
