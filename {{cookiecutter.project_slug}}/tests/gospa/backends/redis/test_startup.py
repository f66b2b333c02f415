"""A start waits for a store that may just be starting as well, and for none that refuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sanic.log import logger

from gospa.backends.redis import startup
from gospa.backends.redis.client import connect
from gospa.settings import Settings, SettingsError
from gospa.testing import until
from tests.gospa.redis_servers import RedisServer

WAITS = "waiting up to"


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "")  # `prepare` sets it for the workers
    monkeypatch.setattr(startup, "PATIENCE", 120.0)  # as long as a test's server needs
    logger.propagate = True  # pytest sees what reaches the root


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    await server.close()


def prepare(server: RedisServer, credentials: str = "") -> "asyncio.Task[None]":
    """Do what the main process does before it starts workers."""
    url = f"redis://{credentials}127.0.0.1:{server.port}/0"
    settings = Settings(redis_url=url, store_timeout=0.2)

    def prepare() -> None:
        with startup.prepare(settings):
            pass

    return asyncio.create_task(asyncio.to_thread(prepare))


async def test_a_start_waits_for_a_server_that_is_not_there_yet(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    start = prepare(server)
    await until(lambda: WAITS in caplog.text)
    await server.start()
    await start
    assert caplog.text.count(WAITS) == 1
    assert "connecting to 127.0.0.1" in caplog.text


async def test_a_start_waits_for_a_server_that_does_not_answer_in_time(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    await server.start()
    async with server.halted():
        start = prepare(server)
        await until(lambda: WAITS in caplog.text)
    await start
    assert "Timeout" in caplog.text


async def test_a_start_waits_for_a_server_that_is_loading(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.start()

    @asynccontextmanager
    async def connect_to_loading(settings: Settings) -> AsyncIterator[Any]:
        async with connect(settings) as client:
            if not caplog.text:
                monkeypatch.setattr(client, "info", info)
            yield client

    async def info() -> dict[str, Any]:
        return {"loading": 1, "redis_version": "8.0.0"}

    monkeypatch.setattr(startup, "connect", connect_to_loading)
    await prepare(server)
    assert "it is loading its data" in caplog.text


async def test_a_server_that_stays_away_is_refused_with_the_remedy(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "PATIENCE", 0.5)
    with pytest.raises(SettingsError, match=r"cannot be used: .* Start it, or correct the address"):
        await prepare(server)
    assert WAITS in caplog.text


@pytest.mark.parametrize(
    "credentials", [":wrong@", "default:wrong@", "nobody:password@", ""], ids=str
)
async def test_a_wrong_password_is_refused_at_once(
    server: RedisServer, caplog: pytest.LogCaptureFixture, credentials: str
) -> None:
    server.options = ("--requirepass", "right")
    server.client.connection_pool.connection_kwargs["password"] = "right"  # noqa: S105
    await server.start()
    with pytest.raises(SettingsError, match="user, password"):
        await prepare(server, credentials)
    assert WAITS not in caplog.text


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:port", "redis://127.0.0.1:1/0?x=1", "redis+sentinel://127.0.0.1"]
)
def test_a_malformed_address_is_refused_at_once(caplog: pytest.LogCaptureFixture, url: str) -> None:
    with pytest.raises(SettingsError), startup.prepare(Settings(redis_url=url)):
        pass
    assert WAITS not in caplog.text
