"""An application with one page more: it counts a visitor's visits in their session."""

import os

from sanic import HTTPResponse, Request
from sanic.response import json

from app import app
from gospa.sessions.cookie import session_of

__all__ = ["app"]


@app.post("/visit")
async def visit(request: Request) -> HTTPResponse:
    """Count a visit; answers with the count and the worker."""
    session = await session_of(request)
    session["visits"] = session.get("visits", 0) + 1
    return json({"visits": session["visits"], "pid": os.getpid()})
