import json
import logging
from pathlib import Path

import httpx
import pytest
from sanic import Request
from sanic.log import logger

from gospa import CONNECTION_ID
from gospa.extras import json_logs
from gospa.settings import Settings
from tests.gospa.process.server import launch


@pytest.fixture
def formatter() -> logging.Formatter:
    return json_logs._Formatter()  # noqa: SLF001


def record(message: str) -> logging.LogRecord:
    return logger.makeRecord(logger.name, logging.WARNING, __file__, 1, message, (), None)


class Asked:
    """A request, of which a log tells only the id."""

    id = "r1"


def test_a_line_is_json_with_the_ids_of_what_it_belongs_to(formatter: logging.Formatter) -> None:
    assert "request_id" not in json.loads(formatter.format(record("idle")))
    request, connection = Request._current.set(Asked()), CONNECTION_ID.set("c1")  # type: ignore[arg-type]  # noqa: SLF001
    try:
        said = json.loads(formatter.format(record('with "quotes"\n')))
    finally:
        Request._current.reset(request)  # noqa: SLF001
        CONNECTION_ID.reset(connection)
    assert said["message"] == 'with "quotes"\n'
    assert said["level"] == "WARNING"
    assert (said["request_id"], said["connection_id"]) == ("r1", "c1")


@pytest.mark.slow
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
