import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from gospa.backends.redis import devstore, listener
from gospa.backends.redis.client import connect
from gospa.backends.redis.pubsub import RedisPubSub, open_pubsub
from gospa.errors import StoreUnavailable
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.testing import until
from tests.gospa.backends.pubsub_conformance import PubSubConformance
from tests.gospa.serving import free_port


class TestRedisPubSub(PubSubConformance):
    @pytest.fixture
    async def pubsub(self, settings: Settings) -> AsyncIterator[PubSub]:
        async with open_pubsub(settings) as pubsub:
            yield pubsub

    async def test_a_killed_connection_is_replaced_and_the_gap_is_told(
        self, pubsub: PubSub, settings: Settings
    ) -> None:
        gaps: list[bool] = []
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        await pubsub.subscribe("c", heard.put_nowait, lambda: gaps.append(True))
        async with connect(settings) as client:
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: bool(gaps))
        await pubsub.publish("c", b"again")
        async with asyncio.timeout(40):
            assert await heard.get() == b"again"

    async def test_a_lost_connection_leaves_its_task_fit_for_the_next(
        self, pubsub: PubSub, settings: Settings
    ) -> None:
        gaps: list[bool] = []
        await pubsub.subscribe("c", lambda _: None, lambda: gaps.append(True))
        async with connect(settings) as client:
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: bool(gaps))
        [task] = [task for task in asyncio.all_tasks() if task.get_name() == "pub/sub"]
        assert task.cancelling() == 0

    @pytest.mark.slow
    async def test_a_server_that_hangs_is_noticed_and_found_again(self, tmp_path: Path) -> None:
        with devstore.run(tmp_path) as url:
            gaps: list[bool] = []
            async with (
                open_pubsub(Settings(redis_url=url)) as pubsub,
                connect(Settings(redis_url=url)) as client,
            ):
                await pubsub.subscribe("c", lambda _: None, lambda: gaps.append(True))
                server = int((await client.info("server"))["process_id"])
                os.kill(server, signal.SIGSTOP)
                try:
                    await until(lambda: not pubsub.connected)
                finally:
                    os.kill(server, signal.SIGCONT)
                await until(lambda: bool(gaps))

    @pytest.mark.slow
    async def test_a_worker_that_stood_still_keeps_its_connection(self, pubsub: PubSub) -> None:
        gaps: list[bool] = []
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        await pubsub.subscribe("c", heard.put_nowait, lambda: gaps.append(True))
        time.sleep(listener.REPLACE_AFTER + 1)  # noqa: ASYNC251 - like one that gets SIGSTOP
        await pubsub.publish("c", b"on")
        async with asyncio.timeout(40):
            assert await heard.get() == b"on"
        assert not gaps

    @pytest.mark.slow
    async def test_a_connection_that_lives_but_hears_nothing_is_replaced(
        self, pubsub: RedisPubSub
    ) -> None:
        gaps: list[bool] = []
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        await pubsub.subscribe("c", heard.put_nowait, lambda: gaps.append(True))
        connection = pubsub._listener._connection  # type: ignore[union-attr] # noqa: SLF001 - nothing public does this
        await connection.send_command("UNSUBSCRIBE")
        await until(lambda: bool(gaps))
        await pubsub.publish("c", b"again")
        async with asyncio.timeout(40):
            assert await heard.get() == b"again"

    @pytest.mark.slow
    async def test_it_can_be_closed_at_any_moment_of_connecting(self, settings: Settings) -> None:
        for steps in range(40):
            async with asyncio.timeout(40), open_pubsub(settings):
                for _ in range(steps):
                    await asyncio.sleep(0)

    async def test_without_a_server_a_subscription_is_unavailable(self) -> None:
        away = Settings(redis_url=f"redis://127.0.0.1:{free_port()}", store_timeout=0.2)
        async with open_pubsub(away) as pubsub:
            with pytest.raises(StoreUnavailable):
                await pubsub.subscribe("c", lambda _: None, lambda: None)
            assert not pubsub.connected

    def test_a_missing_answer_is_noticed_within_seconds(self) -> None:
        assert listener.PROBE_AFTER < listener.REPLACE_AFTER <= 5


async def test_a_connection_that_is_closed_while_a_room_is_left_is_no_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pubsub(settings) as pubsub:
        subscription = await pubsub.subscribe("c", lambda _: None, lambda: None)

        async def closed(*_: Any, **__: Any) -> None:
            raise AttributeError("'NoneType' object has no attribute 'writelines'")  # of redis-py

        monkeypatch.setattr(AbstractConnection, "send_packed_command", closed)
        await subscription.close()
        monkeypatch.undo()
