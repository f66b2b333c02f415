"""Liveness and readiness of this worker."""

import os
from dataclasses import asdict

from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.response import json

from gospa.errors import StoreError
from gospa.stats import STATS

blueprint = Blueprint("health", url_prefix="/health")


@blueprint.get("/live")
async def live(_: Request) -> HTTPResponse:
    """200 as long as the worker answers."""
    return json({"status": "live", "pid": os.getpid()})


@blueprint.get("/ready")
async def ready(request: Request) -> HTTPResponse:
    """503 with the reason while this worker should get no traffic. Includes its counters."""
    status = await _status(request.app)
    report = {"status": status, "pid": os.getpid(), "counters": asdict(STATS)}
    return json(report, status=200 if status == "ready" else 503)


async def _status(app: Sanic) -> str:
    if app.ctx.hub.draining:
        return "draining"
    if not app.ctx.hub.subscribed:
        return "not subscribed"
    try:
        await app.ctx.sessions.check()
    except StoreError:
        return "without sessions"
    return "ready"
