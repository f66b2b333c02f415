"""The Sanic application: limits, CSRF check, session and security headers of every request.

Middleware could do the same, but would add 13 us to the 24 us of a request in Sanic.
"""

from collections.abc import Coroutine
from math import inf
from typing import Any

import sanic
from sanic.exceptions import (
    BadRequest,
    InvalidHeader,
    MethodNotAllowed,
    PayloadTooLarge,
    SanicException,
)
from sanic.headers import AcceptList, parse_accept
from sanic.log import logger
from sanic.request.parameters import RequestParameters
from sanic.response import BaseHTTPResponse, HTTPResponse, empty

from gospa.sessions import cookie
from gospa.web import csrf, prefix
from gospa.web.admission import limits_of
from gospa.web.error_page import ErrorPages
from gospa.web.forms import parse_form
from gospa.web.health import check_port
from gospa.web.hosts import check_host
from gospa.web.protocol import HttpProtocol, HttpRequests, TooSlow
from gospa.web.routes import Routes
from gospa.workers.forking import choose_start_method

NO_ASGI = "cannot start: this application does not run on ASGI servers; use `sanic app`"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


LONGEST_ACCEPT = 1000  # characters that are parsed, which takes 4 us for each


class Request(cookie.SessionRequest):
    """A request: bounds its body, saves its session, and adds security headers to the response."""

    def __init__(self, url_bytes: bytes, *args: Any, **options: Any) -> None:
        """Remove GOSPA_PATH_PREFIX from the path, unless a proxy has removed it."""
        if below := options["app"].ctx.settings.path_prefix:
            url_bytes = prefix.removed(below, url_bytes)
        super().__init__(url_bytes, *args, **options)

    async def receive_body(self) -> None:
        """Receive the whole body, whose size `admit` has checked."""
        limits, body, stream = limits_of(self.app), bytearray(), self.stream
        assert isinstance(stream, HttpRequests)  # noqa: S101 - the application's only kind
        try:
            with limits.arriving(self):
                while stream.request_body:
                    body += await stream.read() or b""  # no variable keeps a piece during the wait
        except PayloadTooLarge as error:  # a chunked body without a known length
            raise limits.refused(error, "size", self) from None
        except TooSlow as error:
            raise limits.refused(error, "time", self) from None
        self.body = bytes(body)

    def get_form(self, keep_blank_values: bool = False) -> RequestParameters:  # noqa: FBT001, FBT002
        """The fields of the body, if it is a form. Raises BadRequest or PayloadTooLarge."""
        kind = self.headers.getone("content-type", "")
        most = self.app.ctx.settings.form_fields
        try:
            form, files = parse_form(self.body, kind, most, blanks=keep_blank_values)
        except (BadRequest, PayloadTooLarge) as error:
            raise limits_of(self.app).refused(error, "form", self) from None
        self.parsed_form, self.parsed_files = form, files
        return form

    @property
    def accept(self) -> AcceptList:
        """The types that the client accepts; all types if the header cannot be parsed.

        Sanic reads this while it answers an error, and would fail.
        """
        if len(self.headers.getone("accept", "")) > LONGEST_ACCEPT:
            self.parsed_accept = parse_accept(None)
        try:
            return super().accept
        except InvalidHeader:
            self.parsed_accept = parse_accept(None)
            return self.parsed_accept

    async def respond(self, *args: Any, **options: Any) -> BaseHTTPResponse | None:
        response = await super().respond(*args, **options)
        if isinstance(response, BaseHTTPResponse):  # called twice for a ResponseStream
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            prefix.add_to_location(self.app.ctx.settings.path_prefix, response)
            csrf.allow_reading(self, response)
            if self.record:
                await cookie.finish(self, response, self.record)
        return response


class Application(sanic.Sanic):
    """Refuses requests above limits, for foreign hosts, and across origins.

    Supports HEAD and OPTIONS for all routes.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, request_class=Request, router=Routes(), error_handler=ErrorPages())
        self.exception(MethodNotAllowed)(_answer_method)

    def prepare(self, *args: Any, protocol: Any = None, **options: Any) -> None:
        super().prepare(*args, protocol=protocol or HttpProtocol, **options)
        choose_start_method(self)

    def create_server(self, *args: Any, protocol: Any = None, **options: Any) -> Any:
        return super().create_server(*args, protocol=protocol or HttpProtocol, **options)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse ASGI servers: the start needs Sanic's own processes."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.failed", "message": NO_ASGI})
        elif scope["type"] == "http":  # the server has no lifespan
            logger.error(NO_ASGI)
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": f"{NO_ASGI}\n".encode()})
        else:
            await send({"type": "websocket.close"})

    def handle_request(self, request: sanic.Request) -> Coroutine[Any, Any, None]:
        try:
            limits_of(self).admit(request)
            check_port(request)
            check_host(request)
            csrf.check_method(request)
        except SanicException as error:
            answer = self.handle_exception(request, error, run_middleware=False)
        else:
            answer = super().handle_request(request)
        stream: Any = request.stream
        return _with_body(answer, stream) if stream.request_body else answer


async def _with_body(answer: Coroutine[Any, Any, None], stream: HttpRequests) -> None:
    """Answer, then read the rest of the body."""
    await answer
    if stream.request_max_size != inf:  # else the route should have read it, and Sanic logs that
        await stream.discard_body()


async def _answer_method(request: sanic.Request, error: MethodNotAllowed) -> HTTPResponse:
    """Answer with the methods of a route: to OPTIONS, or after an unsupported method."""
    allowed = {*(error.allowed_methods or ()), "OPTIONS"}
    if "GET" in allowed:
        allowed.add("HEAD")
    names = ", ".join(sorted(allowed))
    if request.method == "OPTIONS":
        return empty(headers={"Allow": names})
    error.headers = {**error.headers, "Allow": names}
    return request.app.error_handler.default(request, error)
