"""Answers to requests that fail, in a type that the client accepts, within our own CSP."""

from html import escape
from math import ceil

from sanic import HTTPResponse, Request
from sanic.errorpages import RENDERERS_BY_CONTENT_TYPE, BaseRenderer, TextRenderer, guess_mime
from sanic.handlers import ErrorHandler
from sanic.response import html, text

from gospa.errors import RateLimited, RoomError, StoreError
from gospa.trouble import warn_seldom

PAGE = """\
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{title}</title>
  <link rel="icon" href="data:,">
</head>
<body>
  <h1>{title}</h1>
  <p>{text}</p>
</body>
</html>
"""


class Page(BaseRenderer):
    """An error page without inline scripts and styles, which our CSP forbids in Sanic's page."""

    def minimal(self) -> HTTPResponse:
        return html(PAGE.format(title=escape(self.title), text=escape(self.text)))

    def full(self) -> HTTPResponse:
        """Answer with the traceback, in debug mode."""
        return TextRenderer(self.request, self.exception, self.debug).full()


class ErrorPages(ErrorHandler):
    """Sanic's error handler, with our page instead of its own."""

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        self.log(request, exception)
        kind = guess_mime(request, request.app.config.FALLBACK_ERROR_FORMAT)
        renderer = Page if kind == "text/html" else RENDERERS_BY_CONTENT_TYPE.get(kind, self.base)
        return renderer(request, exception, self.debug).render()


async def room_refused(_: Request, error: RoomError) -> HTTPResponse:
    """Answer an error of a room or a limit that the view did not catch."""
    headers = {}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(max(1, ceil(error.wait)))
    return text(f"{error}\n", error.status, headers)


async def store_failed(_: Request, error: StoreError) -> HTTPResponse:
    warn_seldom("store_failed", "a request failed with a store error: %s", error)
    return text("Try again in a moment.\n", 503, headers={"Retry-After": "1"})
