"""The template's application with sessions taken out: what they cost a request that uses none."""

from typing import Any

import sanic
from gospa.web.application import HEADERS
from ours import app
from sanic.response import BaseHTTPResponse

__all__ = ["app"]


class Request(sanic.Request):
    """Answers with security headers alone."""

    async def respond(self, *args: Any, **options: Any) -> BaseHTTPResponse | None:
        response = await super().respond(*args, **options)
        if isinstance(response, BaseHTTPResponse):
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
        return response


app.request_class = Request
