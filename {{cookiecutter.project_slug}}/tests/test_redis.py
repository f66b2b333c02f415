"""What a server in trouble answers, and what the application makes of it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis import exceptions

from server import devstore
from server.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from server.redis import ask, connect, store_errors
from server.settings import Settings
from tests.process.server import halt
from tests.serving import free_port
from tests.waiting import until

TIMEOUT = 0.5  # seconds


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with a server that nobody else uses."""
    with devstore.run(str(tmp_path_factory.mktemp("private"))) as url:
        yield Settings(redis_url=url, store_timeout=TIMEOUT)


@pytest.fixture
async def client(private: Settings) -> AsyncIterator[Any]:
    async with connect(private) as client:
        yield client


async def test_a_full_server_takes_nothing_and_still_answers(client: Any) -> None:
    await client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreFull), store_errors():
            await client.set("a", 1)
        assert await client.get("a") is None
    finally:
        await client.config_set("maxmemory", 0)


async def test_a_replica_is_unavailable_for_writers(client: Any) -> None:
    await client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(StoreUnavailable), store_errors():
            await client.set("a", 1)
    finally:
        await client.replicaof("NO", "ONE")


async def test_a_replica_that_lost_its_master_may_be_unavailable_for_readers(client: Any) -> None:
    await client.config_set("replica-serve-stale-data", "no")
    await client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(StoreUnavailable), store_errors():
            await client.get("a")
    finally:
        await client.replicaof("NO", "ONE")


async def test_a_server_busy_with_a_script_is_unavailable(client: Any, private: Settings) -> None:
    await client.config_set("lua-time-limit", 10)
    async with connect(private) as other:
        script = asyncio.create_task(other.eval("while true do end", 0))

        async def unavailable() -> bool:
            with contextlib.suppress(StoreUnavailable), store_errors():
                await client.set("a", 1)
                return False
            return True

        await until(unavailable)
        await client.script_kill()
        with contextlib.suppress(exceptions.RedisError):  # that its script was killed
            await script
    await client.set("a", 1)


async def test_a_server_that_hangs_is_unavailable_within_the_timeout(client: Any) -> None:
    pid = (await client.info("server"))["process_id"]
    async with halt(pid):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable), store_errors():
            await client.get("a")
    assert time.monotonic() - began < 10 * TIMEOUT


async def test_a_command_that_cannot_be_sent_is_the_mistake_of_its_caller_alone(
    client: Any,
) -> None:
    outcomes = await asyncio.gather(
        ask(client, ("SET", "a", "\ud800")), ask(client, ("SET", "b", "1")), return_exceptions=True
    )
    assert isinstance(outcomes[0], UnicodeEncodeError)
    assert outcomes[1] == [True]


async def test_a_command_that_is_refused_is_the_error_of_its_caller_alone(client: Any) -> None:
    await client.set("a", "text")
    outcomes = await asyncio.gather(
        ask(client, ("HGET", "a", "b")), ask(client, ("GET", "a")), return_exceptions=True
    )
    assert isinstance(outcomes[0], StoreCorrupt)
    assert outcomes[1] == [b"text"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError("by a server of a cluster"), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (exceptions.TimeoutError(), StoreUnavailable),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), StoreUnavailable),
        (exceptions.ResponseError("MISCONF Redis is configured to save"), StoreUnavailable),
        (exceptions.ResponseError("CLUSTERDOWN The cluster is down"), StoreUnavailable),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), StoreCorrupt),
        (exceptions.NoPermissionError("this user has no permissions"), StoreError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_says_what_may_be_done(error: Exception, kind: type[StoreError]) -> None:
    with pytest.raises(StoreError) as said, store_errors():
        raise error
    assert said.type is kind


def test_a_mistake_of_ours_is_not_the_stores() -> None:
    with pytest.raises(RuntimeError, match="ours"), store_errors():
        raise RuntimeError("ours")
