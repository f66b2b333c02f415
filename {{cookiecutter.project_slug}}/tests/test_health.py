import json
import os
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from server import health
from server.errors import StoreUnavailable
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


def report_of(*, connected: bool, check: Callable[[], Awaitable[None]]) -> Any:
    hub = SimpleNamespace(connected=connected, counters=Counters(loads=3))
    ctx = SimpleNamespace(hub=hub, sessions=SimpleNamespace(check=check))
    handler: Any = health.ready
    return handler(SimpleNamespace(app=SimpleNamespace(ctx=ctx)))


async def nothing() -> None:
    pass


async def fail() -> None:
    raise StoreUnavailable("away")


@pytest.mark.parametrize(
    ("connected", "check", "status"),
    [(True, nothing, 200), (False, nothing, 503), (True, fail, 503)],
)
async def test_a_worker_that_hears_nobody_or_has_no_sessions_is_not_ready(
    *, connected: bool, check: Callable[[], Awaitable[None]], status: int
) -> None:
    answer = await report_of(connected=connected, check=check)
    assert answer.status == status
    report = json.loads(answer.body or b"")
    assert report["pid"] == os.getpid()
    assert report["counters"]["loads"] == 3
