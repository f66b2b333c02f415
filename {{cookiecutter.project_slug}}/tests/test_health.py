import json
import os
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from server import health
from server.realtime.counters import Counters
from tests.waiting import until


async def test_a_worker_that_answers_is_live(address: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{address}/health/live")
    assert answer.status_code == 200
    assert answer.json() == {"status": "live", "pid": os.getpid()}


async def test_a_worker_that_hears_the_others_is_ready(address: str) -> None:
    async with httpx.AsyncClient() as client:

        async def ready() -> bool:
            return (await client.get(f"http://{address}/health/ready")).status_code == 200

        await until(ready)


@pytest.mark.parametrize(("connected", "status"), [(True, 200), (False, 503)])
async def test_a_worker_that_hears_nobody_is_not_ready(*, connected: bool, status: int) -> None:
    hub = SimpleNamespace(connected=connected, counters=Counters(loads=3))
    request: Any = SimpleNamespace(app=SimpleNamespace(ctx=SimpleNamespace(hub=hub)))
    handler: Any = health.ready
    answer = await handler(request)
    assert answer.status == status
    report = json.loads(answer.body or b"")
    assert report["pid"] == os.getpid()
    assert report["counters"]["loads"] == 3
