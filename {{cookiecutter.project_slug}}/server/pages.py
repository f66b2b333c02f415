"""The page and the files it loads."""

from pathlib import Path

from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import NotFound
from sanic.response import BaseHTTPResponse, file

CLIENT = Path(__file__).parents[1] / "client"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def install(app: Sanic) -> None:
    """Serve `client/index.html` at / and the other files of `client/` under /client/."""
    app.add_route(_file, "/client/<path:path>", methods=["GET", "HEAD"], name="client")
    app.add_route(_page, "/", name="page")
    app.register_middleware(_protect, "response")


async def _page(_: Request) -> HTTPResponse:
    return await file(CLIENT / "index.html")


async def _file(request: Request, path: str) -> HTTPResponse:
    """A file of `client/`. Compared with the names there are, no path leads out of the folder."""
    files = (found for found in CLIENT.rglob("*") if found.is_file())
    for found in files:
        if found.relative_to(CLIENT).as_posix() == path:
            return await file(found, request_headers=request.headers)
    raise NotFound("there is no such file")


async def _protect(_: Request, response: BaseHTTPResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
