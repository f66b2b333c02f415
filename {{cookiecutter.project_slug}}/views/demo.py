"""What the demonstration breaks on purpose, only with GOSPA_DEMO=true: a worker."""

import os
import signal
from contextlib import suppress

from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.exceptions import BadRequest, NotFound
from sanic.response import empty

blueprint = Blueprint("demo", url_prefix="/demo")


@blueprint.post("/kill-worker")
async def kill_worker(request: Request) -> HTTPResponse:
    """Kill the worker with this pid, as a crash would; the main process starts another."""
    if not request.app.ctx.settings.demo:
        raise NotFound("Nothing is broken on purpose here (GOSPA_DEMO).", quiet=True)
    pid = (request.form and request.form.get("pid")) or ""
    if pid not in workers(request.app):
        raise BadRequest("This is no worker of this application.", quiet=True)
    with suppress(ProcessLookupError):  # the browser repeats a request whose worker ended
        os.kill(int(pid), signal.SIGKILL)
    return empty()


def workers(app: Sanic) -> set[str]:
    """The process ids of the workers that serve; none where the application runs in one process."""
    running = app.m.workers if getattr(app, "multiplexer", None) else {}
    served = (state for name, state in running.items() if name.startswith("Sanic-Server-"))
    return {str(state["pid"]) for state in served if "pid" in state}
