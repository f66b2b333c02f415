"""What Prometheus is told, and whether the dashboard asks for things that there are."""

import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest
from prometheus_client import generate_latest, multiprocess
from prometheus_client.parser import text_string_to_metric_families

from gospa.extras import metrics
from gospa.testing import Member, until

DASHBOARD = Path(__file__).parents[3] / "deploy/grafana.json"


def samples(exposition: str) -> dict[str, float]:
    """The value of each sample, by its name and labels."""
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


async def test_work_shows_in_the_metrics(
    address: str, connect: Callable[[], AbstractAsyncContextManager[Member]]
) -> None:
    async def told() -> dict[str, float]:
        async with httpx.AsyncClient() as client:
            return samples((await client.get(f"http://{address}/health/metrics")).text)

    before = await told()
    async with connect() as member, connect() as other:
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


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_what_a_dead_worker_had_open_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def is_not_ours(pid: int, _: int) -> None:
        if pid == 4_000_000:
            raise error

    def is_removed_by_another_worker(pid: int, folder: Path) -> None:
        for _ in range(2):
            (folder / f"gauge_livesum_{pid}.db").unlink()

    gone = tmp_path / "gauge_livesum_4000000.db"
    gone.touch()
    monkeypatch.setenv(metrics.FOLDER, str(tmp_path))
    monkeypatch.setattr(os, "kill", is_not_ours)
    monkeypatch.setattr(multiprocess, "mark_process_dead", is_removed_by_another_worker)
    assert metrics.exposition() == b""
    assert not gone.exists()


def test_the_dashboard_asks_for_what_there_is() -> None:
    families = text_string_to_metric_families(generate_latest().decode())
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
