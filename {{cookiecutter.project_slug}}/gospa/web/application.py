"""The Sanic application: CSRF check, session and security headers of every request.

Middleware could do the same, but costs 13 us a request where Sanic alone takes 24.
"""

from collections.abc import Coroutine
from typing import Any

import sanic
from sanic.exceptions import Forbidden
from sanic.response import BaseHTTPResponse

from gospa.sessions import cookie
from gospa.web import csrf

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Request(cookie.SessionRequest):
    """Saves the session it used, and adds security headers to the response."""

    async def respond(self, *args: Any, **options: Any) -> BaseHTTPResponse | None:
        response = await super().respond(*args, **options)
        if isinstance(response, BaseHTTPResponse):  # a ResponseStream passes twice
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            if self.record:
                await cookie.finish(self, response, self.record)
        return response


class Application(sanic.Sanic):
    """Refuses cross-origin requests with unsafe methods."""

    def __init__(self, name: str) -> None:
        super().__init__(name, request_class=Request)

    def handle_request(self, request: sanic.Request) -> Coroutine[Any, Any, None]:
        try:
            csrf.check_method(request)
        except Forbidden as error:
            return self.handle_exception(request, error, run_middleware=False)
        return super().handle_request(request)
