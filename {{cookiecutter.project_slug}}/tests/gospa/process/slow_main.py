"""The application of the tests; its main process stands still while it notes a worker's start."""

import time
from typing import Any

from sanic import HTTPResponse, Request
from sanic.response import json
from sanic.worker.process import WorkerProcess

from tests.gospa.app import app

STANDSTILL = 1.0  # seconds: by then, a worker would have reported that it is ready

_pid: Any = WorkerProcess.pid


def _pid_later(process: WorkerProcess) -> Any:
    time.sleep(STANDSTILL)
    return _pid.fget(process)


WorkerProcess.pid = property(_pid_later)  # type: ignore[method-assign, assignment]


@app.get("/state")
async def state(request: Request) -> HTTPResponse:
    """What the main process knows of this worker."""
    known = request.app.m.state
    return json({"pid": known.get("pid"), "state": known["state"]})
