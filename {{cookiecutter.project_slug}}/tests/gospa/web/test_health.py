import json
import os
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gospa.errors import StoreError, StoreUnavailable
from gospa.stats import Stats
from gospa.testing import until
from gospa.web import health


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


class Sessions:
    def __init__(self, error: StoreError | None) -> None:
        self._error = error

    async def check(self) -> None:
        if self._error:
            raise self._error


@pytest.mark.parametrize(
    ("subscribed", "draining", "error", "status"),
    [
        (True, False, None, "ready"),
        (False, False, None, "not subscribed"),
        (True, True, None, "draining"),
        (True, False, StoreUnavailable("away"), "without sessions"),
    ],
    ids=["well", "not subscribed", "stops", "no sessions"],
)
async def test_a_worker_says_why_it_is_not_ready(
    stats: Stats, *, subscribed: bool, draining: bool, error: StoreError | None, status: str
) -> None:
    stats.loads_missed = 3
    hub = SimpleNamespace(subscribed=subscribed, draining=draining)
    context = SimpleNamespace(hub=hub, sessions=Sessions(error))
    request: Any = SimpleNamespace(app=SimpleNamespace(ctx=context))
    handler: Any = health.ready
    answer = await handler(request)
    assert answer.status == (200 if status == "ready" else 503)
    report = json.loads(answer.body or b"")
    assert (report["status"], report["pid"]) == (status, os.getpid())
    assert report["counters"]["loads_missed"] == 3
