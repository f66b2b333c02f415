"""Finds the handler of a request."""

from collections.abc import Callable
from typing import Any

from sanic import Request
from sanic.exceptions import MethodNotAllowed, NotFound
from sanic.router import Router


class Routes(Router):
    """Uses the route of GET for HEAD as well; Sanic omits the body."""

    def get(self, path: str, method: str, host: str | None) -> Any:  # type: ignore[override] # cached
        try:
            return super().get(path, method, host)
        except MethodNotAllowed:
            if method != "HEAD":
                raise
            return super().get(path, "GET", host)  # because not all errors list the methods


def handler_of(request: Request) -> Callable[..., Any] | None:
    """The handler, found before Sanic does; None if there is none."""
    try:
        host = request.headers.get("host")
        _, handler, _ = request.app.router.get(request.path, request.method, host)
    except (NotFound, MethodNotAllowed):
        return None
    found: Callable[..., Any] = handler
    return found


def streams(request: Request) -> bool:
    """Whether the handler reads the body itself (`stream=True`), and limits it."""
    return hasattr(handler_of(request), "is_stream")
