"""The page and the files it loads."""

from pathlib import Path

from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import NotFound
from sanic.response import file

CLIENT = Path(__file__).parents[2] / "client"
ENGINE = Path(__file__).parents[1] / "client"


def install(app: Sanic) -> None:
    """Serve `client/index.html` at /, other files of `client/` under /client/, ours at /gospa/."""
    app.add_route(_file, "/client/<path:path>", methods=["GET", "HEAD"], name="client")
    app.add_route(_page, "/", name="page")
    app.static("/gospa", ENGINE, name="gospa")


async def _page(_: Request) -> HTTPResponse:
    return await file(CLIENT / "index.html")


async def _file(request: Request, path: str) -> HTTPResponse:
    """A file of `client/`. Compared with the names there are, no path leads out of the folder."""
    files = (found for found in CLIENT.rglob("*") if found.is_file())
    for found in files:
        if found.relative_to(CLIENT).as_posix() == path:
            return await file(found, request_headers=request.headers)
    raise NotFound("there is no such file")
