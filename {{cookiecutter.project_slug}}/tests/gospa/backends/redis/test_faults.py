"""What a store refuses is told: at start with the remedy, later in readiness, log and metrics."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sanic.log import logger

from gospa.client import Refused
from gospa.settings import Settings
from gospa.testing import OpenApp, until
from tests.gospa.process.server import PROJECT, launch
from tests.gospa.raw_client import raw_client
from tests.gospa.redis_servers import RedisServer

ALL = "on >password ~* &* +@all"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield await server.start()
    await server.close()


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    logger.propagate = True  # pytest sees what reaches the root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("resetchannels", "channel"),
        ("-eval -evalsha", "eval"),
        ("-hset", "HSET"),
        ("-set", "set"),
        ("-pexpire", "PEXPIRE"),
        ("resetkeys ~other:*", "key"),
    ],
)
async def test_what_its_user_may_not_do_is_said_at_start_with_the_remedy(
    server: RedisServer, settings: Settings, tmp_path: Path, rules: str, problem: str
) -> None:
    await server.client.execute_command("ACL", "SETUSER", "app", *f"{ALL} {rules}".split())
    url = f"redis://app:password@127.0.0.1:{server.port}/0"
    with launch(msgspec.structs.replace(settings, redis_url=url), tmp_path) as launched:
        await until(lambda: launched.process.poll() is not None)
        assert launched.process.returncode == 2
        line = next(line for line in launched.log.splitlines() if "cannot start" in line)
        assert problem.lower() in line.lower()
        assert "docs/redis.md" in line
        assert "Traceback" not in launched.log


@pytest.mark.slow
async def test_a_replica_is_refused_at_start(
    server: RedisServer, settings: Settings, tmp_path: Path
) -> None:
    await server.client.replicaof("127.0.0.1", 1)
    own = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{server.port}/0")
    with launch(own, tmp_path) as launched:
        await until(lambda: launched.process.poll() is not None)
        assert "has to lead to the primary" in launched.log


@pytest.mark.slow
async def test_a_store_that_is_full_is_no_reason_not_to_start(
    server: RedisServer, settings: Settings, tmp_path: Path
) -> None:
    await server.client.config_set("maxmemory", 1)
    own = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{server.port}/0")
    with launch(own, tmp_path) as launched:
        await launched.ready()
        assert "raise its maxmemory" in launched.log
        assert (await launched.report())["status"] == "without rooms"


async def deny(server: RedisServer) -> None:
    await server.client.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")


async def fill(server: RedisServer) -> None:
    await server.client.config_set("maxmemory", 1)


async def demote(server: RedisServer) -> None:
    await server.client.replicaof("127.0.0.1", 1)


async def lose_replicas(server: RedisServer) -> None:
    await server.client.config_set("min-replicas-to-write", 1)


async def stop(server: RedisServer) -> None:
    server.kill()


@pytest.mark.parametrize(
    ("fault", "reason", "status"),
    [
        (deny, "store_denied", "ready"),
        (fill, "store_full", "without rooms"),
        (demote, "store_read_only", "without rooms"),
        (lose_replicas, "store_replicas", "without rooms"),
        (stop, "store_unavailable", "not subscribed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("needed", [False, True], ids=["", "needed"])
async def test_a_fault_of_the_store_is_told_and_hosts_stay_ready_unless_they_shall_not(  # noqa: PLR0913, PLR0917
    server: RedisServer,
    open_app: OpenApp,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    reason: str,
    status: str,
    *,
    needed: bool,
) -> None:
    url = f"redis://127.0.0.1:{server.port}/0"
    async with open_app(redis_url=url, ready_needs_store=needed) as site, site.http() as client:
        async with raw_client(site) as member:
            assert (await client.get("/health/ready")).json()["status"] == "ready"
            await member.join("sheet/a")
            await fault(server)
            with pytest.raises(Refused):
                await member.call("sheet/a", "add")

            async def told() -> bool:
                answer = await client.get("/health/ready")
                report = answer.json()
                assert answer.status_code == 200 or report["status"] != "ready"
                return bool(
                    report["status"] == status
                    and report["counters"]["trouble"][reason]
                    and answer.status_code == (503 if needed and status != "ready" else 200)
                )

            await until(told)
        assert f"[{reason}]" in caplog.text
        metrics = (await client.get("/health/metrics")).text
        line = next(each for each in metrics.splitlines() if f'reason="{reason}"' in each)
        assert float(line.split()[-1]) > 0


@pytest.mark.slow
async def test_another_application_under_the_same_prefix_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    with launch(settings, tmp_path) as first:
        await first.ready()
        with launch(settings, tmp_path) as same:
            await same.ready()
        with launch(settings, tmp_path, app="tests.gospa.chaos.app:app") as other:
            await until(lambda: other.process.poll() is not None)
            assert "those of another application, 'tests': set GOSPA_KEY_PREFIX" in other.log
        assert (await first.report())["status"] == "ready"


@pytest.mark.slow
async def test_an_address_that_is_in_a_file_alone_is_never_a_private_store_in_silence(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("REDIS_URL=redis://example.org?a=1&b=2\n", encoding="utf-8")
    none = msgspec.structs.replace(settings, redis_url="")
    with launch(none, tmp_path, cwd=tmp_path, env={"PYTHONPATH": str(PROJECT)}) as launched:
        await until(lambda: launched.process.poll() is not None)
        assert "REDIS_URL is in .env" in launched.log
