"""What those who operate the application see of several workers."""

import json
import os
import signal
from pathlib import Path

import httpx

from gospa.settings import Settings
from gospa.testing import until
from tests.gospa.extras.test_metrics import samples
from tests.gospa.process.server import launch


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


async def test_logs_can_be_json_with_nothing_secret(settings: Settings, tmp_path: Path) -> None:
    environment = {"GOSPA_LOG_FORMAT": "json"}
    with launch(settings, tmp_path, "--workers=2", "--access-logs", env=environment) as server:
        await server.ready()
        async with server.members(1) as (member,):
            token = member.cookie.partition("=")[2]
            async with httpx.AsyncClient(
                headers={"X-Request-ID": "abc", "Cookie": member.cookie}
            ) as client:
                await client.get(f"http://{server.address}/health/live")
        server.assert_stops()
        lines = [line for line in server.log.splitlines() if line.startswith("{")]
        said = [json.loads(line) for line in lines]
        assert "abc" in {line.get("request_id") for line in said}
        assert token not in server.log
