"""Whether this worker lives, and whether it can do its work."""

import os
from dataclasses import asdict

from prometheus_client import CONTENT_TYPE_LATEST
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json, raw

from gospa.errors import StoreError
from gospa.extras import metrics
from gospa.live.hub import Hub
from gospa.sessions.store import SessionStore

blueprint = Blueprint("health", url_prefix="/health")


@blueprint.get("/live")
async def live(_: Request) -> HTTPResponse:
    """200 as long as the worker answers."""
    return json({"status": "live", "pid": os.getpid()})


@blueprint.get("/ready")
async def ready(request: Request) -> HTTPResponse:
    """503 with the reason while this worker should get no visitors. Tells its counters."""
    context = request.app.ctx
    status = await _status(context.hub, context.sessions)
    report = {"status": status, "pid": os.getpid(), "counters": asdict(context.hub.counters)}
    return json(report, status=200 if status == "ready" else 503)


@blueprint.get("/metrics")
async def tell_metrics(_: Request) -> HTTPResponse:
    """All workers of this host, for Prometheus. For the eyes of those who operate it alone."""
    return raw(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)


async def _status(hub: Hub, sessions: SessionStore) -> str:
    if hub.draining:
        return "draining"
    if not hub.connected:
        return "deaf"
    try:
        await sessions.check()
    except StoreError:
        return "without sessions"
    return "ready"
