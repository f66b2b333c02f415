"""Routes for the engine's tests."""

import os
import time

from sanic import Blueprint, HTTPResponse, Request
from sanic.log import logger
from sanic.response import empty, json

from gospa.sessions.cookie import log_in, log_out, log_out_everywhere, session_of

blueprint = Blueprint("tests")


@blueprint.get("/")
async def page(_: Request) -> HTTPResponse:
    return empty(200)


@blueprint.post("/visit")
async def visit(request: Request) -> HTTPResponse:
    """Count a visit in the session; answers with the count and the worker."""
    session = await session_of(request)
    session["visits"] = session.get("visits", 0) + 1
    return json({"visits": session["visits"], "pid": os.getpid()})


@blueprint.get("/spin")
async def spin(_: Request) -> HTTPResponse:
    """Never answer, nor let the worker do anything else, as if it computed for ever."""
    logger.warning("worker %s computes for ever", os.getpid())
    while True:
        time.sleep(0.01)  # noqa: ASYNC251 - it blocks the worker, and leaves the core to other tests


async def whoami(request: Request) -> HTTPResponse:
    """Tell what is known of the client."""
    return json({"address": request.remote_addr, "scheme": request.scheme, "host": request.host})


blueprint.add_route(whoami, "/whoami", methods=["GET", "POST"])


@blueprint.post("/form")
async def form(request: Request) -> HTTPResponse:
    """Tell the names of a form's fields."""
    return json({"fields": sorted(request.form or {})})


@blueprint.post("/log-in/<user>")
async def enter(request: Request, user: str) -> HTTPResponse:
    await log_in(request, user)
    return empty()


@blueprint.post("/log-out")
async def leave(request: Request) -> HTTPResponse:
    await log_out(request)
    return empty()


@blueprint.post("/log-out-everywhere")
async def leave_everywhere(request: Request) -> HTTPResponse:
    await log_out_everywhere(request)
    return empty()
