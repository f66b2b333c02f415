"""The states of Sanic's workers, which the main process and each worker write."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest
from sanic.worker.state import WorkerState

from gospa.workers.states import LocalManager, registered

WORKER = "Sanic-Server-0-0"


@pytest.fixture
def manager() -> LocalManager:
    return LocalManager()


async def test_a_worker_waits_until_the_main_process_has_noted_its_process_id(
    manager: LocalManager,
) -> None:
    states: Any = manager.dict({WORKER: {"state": "STARTED", "pid": os.getpid() + 1, "starts": 1}})
    app: Any = SimpleNamespace(m=SimpleNamespace(state=WorkerState(states, WORKER)))
    waiting = asyncio.create_task(registered(app))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    states[WORKER] = {**states[WORKER], "pid": os.getpid(), "starts": 2}
    await waiting
