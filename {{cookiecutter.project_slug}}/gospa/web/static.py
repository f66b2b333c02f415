"""Files that browsers load: those of `client/`, and the engine's own."""

from pathlib import Path

from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import NotFound
from sanic.response import file

CLIENT = Path(__file__).parents[2] / "client"
ENGINE = Path(__file__).parents[1] / "client"


def install(app: Sanic) -> None:
    """Serve the files of `client/` under /client/, and the browser client under /gospa/."""
    app.add_route(_file, "/client/<path:path>", methods=["GET", "HEAD"], name="client")
    app.static("/gospa", ENGINE, name="gospa")


async def page(name: str) -> HTTPResponse:
    """Answer with a page of `client/`, such as "index.html"."""
    return await file(CLIENT / name)


async def _file(request: Request, path: str) -> HTTPResponse:
    """A file of `client/`, unless its name or that of one of its folders begins with a dot."""
    folder = CLIENT.resolve()
    try:
        found = (folder / path).resolve()  # without dots and links
        inside = found.relative_to(folder)
        hidden = any(part.startswith(".") for part in (*inside.parts, *Path(path).parts))
        if not hidden and found.is_file():
            return await file(found, request_headers=request.headers)
    except (ValueError, OSError):  # it leads out of the folder, or is no name of a file
        pass
    raise NotFound("there is no such file")
