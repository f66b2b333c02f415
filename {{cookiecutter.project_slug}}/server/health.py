"""Whether this worker lives, and whether it can do its work."""

import os
from dataclasses import asdict

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

from server.errors import StoreError

blueprint = Blueprint("health", url_prefix="/health")


@blueprint.get("/live")
async def live(_: Request) -> HTTPResponse:
    """200 as long as the worker answers."""
    return json({"status": "live", "pid": os.getpid()})


@blueprint.get("/ready")
async def ready(request: Request) -> HTTPResponse:
    """503 while this worker hears nothing of others, or has no sessions. Tells its counters."""
    hub = request.app.ctx.hub
    status = "ready" if hub.connected else "deaf"
    try:
        await request.app.ctx.sessions.check()
    except StoreError:
        status = "without sessions"
    report = {"status": status, "pid": os.getpid(), "counters": asdict(hub.counters)}
    return json(report, status=200 if status == "ready" else 503)
