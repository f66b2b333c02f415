"""Whether this worker lives, and whether it can do its work."""

import os
from dataclasses import asdict

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

blueprint = Blueprint("health", url_prefix="/health")


@blueprint.get("/live")
async def live(_: Request) -> HTTPResponse:
    """200 as long as the worker answers."""
    return json({"status": "live", "pid": os.getpid()})


@blueprint.get("/ready")
async def ready(request: Request) -> HTTPResponse:
    """503 while this worker does not hear what others publish. Tells its counters."""
    hub = request.app.ctx.hub
    report = {
        "status": "ready" if hub.connected else "deaf",
        "pid": os.getpid(),
        "counters": asdict(hub.counters),
    }
    return json(report, status=200 if hub.connected else 503)
