"""Several workers on a memory backend: said once before they start, or refused."""

from pathlib import Path

import pytest

import app as chosen
from gospa.settings import Settings
from tests.gospa.process.server import STOP_TIMEOUT, launch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not chosen.BACKENDS.isolated(), reason="every backend of app.py is shared"),
]


async def test_one_warning_names_what_is_isolated_and_the_remedy(
    settings: Settings, tmp_path: Path
) -> None:
    with launch(settings, tmp_path, "--workers=2") as server:
        await server.ready()
        await server.pids(2)
        (warning,) = [line for line in server.log.splitlines() if "WARNING" in line]
    for part in chosen.BACKENDS.isolated():
        assert part in warning
    assert "Remedy" in warning
    assert server.log.index("WARNING") < server.log.index("Starting worker")


async def test_one_worker_is_no_reason_to_warn(settings: Settings, tmp_path: Path) -> None:
    with launch(settings, tmp_path, "--workers=1") as server:
        await server.ready()
        assert "WARNING" not in server.log


async def test_where_sharing_is_required_it_does_not_start(
    settings: Settings, tmp_path: Path
) -> None:
    with launch(settings, tmp_path, "--workers=2", env={"REQUIRE_SHARED": "true"}) as server:
        assert server.process.wait(STOP_TIMEOUT) != 0
        assert "REQUIRE_SHARED" in server.log
        assert "Starting worker" not in server.log
    for part in chosen.BACKENDS.isolated():
        assert part in server.log


async def test_one_worker_starts_where_sharing_is_required(
    settings: Settings, tmp_path: Path
) -> None:
    environment = {"REQUIRE_SHARED": "true"}
    with launch(settings, tmp_path, "--workers=1", env=environment) as server:
        await server.ready()
