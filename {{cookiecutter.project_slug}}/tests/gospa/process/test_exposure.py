"""What the log says at the start of a server that others can reach."""

from pathlib import Path

import pytest

from gospa.settings import Settings
from tests.gospa.process.server import launch

pytestmark = pytest.mark.slow

WARNING = "refuse the session's cookie"


@pytest.mark.parametrize(
    ("host", "environment", "warned"),
    [
        ("0.0.0.0", {}, True),  # noqa: S104 - which is what is tested
        ("127.0.0.1", {}, False),
        ("0.0.0.0", {"SANIC_PROXIES_COUNT": "1"}, False),  # noqa: S104
        ("0.0.0.0", {"GOSPA_INSECURE_COOKIES": "true"}, False),  # noqa: S104
    ],
)
async def test_plain_http_for_others_is_warned_of_once(
    settings: Settings, tmp_path: Path, host: str, environment: dict[str, str], *, warned: bool
) -> None:
    workers = "--workers=2" if warned else "--workers=1"
    with launch(settings, tmp_path, workers, host=host, env=environment) as server:
        await server.ready()
        log = server.log
    assert log.count(WARNING) == warned
    assert log.count("GOSPA_INSECURE_COOKIES=true") == warned
