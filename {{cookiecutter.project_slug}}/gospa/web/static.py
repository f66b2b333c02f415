"""Files that browsers load: those of `client/`, and the engine's own.

A URL with a file's hash, as in rendered pages, always refers to the same content, so browsers may
cache it forever. While two releases run side by side, a host of one may get requests for files of
the other, so workers also store scripts and styles in the session storage.
"""

import asyncio
import gzip
import json
import re
import zlib
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import NotFound
from sanic.log import logger
from sanic.response import ResponseStream, raw

from gospa.errors import StoreCorrupt, StoreError
from gospa.sessions.inspection import Kind
from gospa.storage import Storage
from gospa.web.application import HEADERS
from gospa.web.bundle import ENTRY, bundle
from gospa.web.files import File, digest_of, file_of, read_folder, signature
from gospa.web.pages import Pages
from gospa.web.release import code_digest

CLIENT = Path(__file__).parents[2] / "client"
ENGINE = Path(__file__).parents[1] / "client"

KEPT_FOR = 30 * 86400.0  # seconds for which hosts of other releases can get files of this one
FOR_EVER = "public, max-age=31536000, immutable"
SHARED = (".js", ".mjs", ".css")
LISTING = "/gospa/files.json"  # the hashes of all files and of the code, in debug mode
DEVELOPMENT = "development"  # the release in debug mode, in which files change with each edit

FILES = Kind(
    "file of a release",
    "file:",
    lambda digest, packed: "" if _unpacked(digest, packed) else "it is not the file of this name",
    "start a worker of its release again, or none: pages of that release are loaded again",
)

PIECE = 64 * 1024  # bytes of a large file that wait for a client

_HASH = re.compile(r"[0-9a-f]{24}")
# An encoding with the weight 0 is one that the client does not accept.
_GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?!\s|;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)


def install(app: Sanic) -> None:
    """Serve the files of `client/` under /client/, and the browser client under /gospa/."""
    app.ctx.served = None
    app.register_listener(_read_files, "main_process_ready")
    for prefix in ("client", "gospa"):
        route: Any = _file  # which may return a stream
        app.add_route(route, f"/{prefix}/<path:path>", methods=["GET", "HEAD"], name=prefix)


async def _read_files(app: Sanic) -> None:
    """Read all files in the main process, for workers that are forked later with the same code."""
    if not app.debug:
        app.ctx.served = _files(app, None).current()


async def open_files(app: Sanic) -> None:
    """Read all files, and store them for hosts of other releases."""
    app.ctx.files = _files(app, app.ctx.file_storage if app.ctx.backends.storage.shared else None)
    app.ctx.hub.server["release"] = app.ctx.files.release
    await app.ctx.files.publish()


def _files(app: Sanic, shared: Storage | None) -> "Files":
    settings = app.ctx.settings
    release = settings.release or (DEVELOPMENT if app.debug else "")
    return Files(shared, release, settings.path_prefix, follow=app.debug, served=app.ctx.served)


async def page(name: str) -> HTTPResponse:
    """Answer with a page of `client/`, such as "index.html"."""
    request = Request.get_current()
    answer: HTTPResponse = await request.app.ctx.files.answer(request, f"/client/{name}")
    return answer


def html_page(text: str, status: int = 200) -> HTTPResponse:
    """Answer with HTML from the application, which refers to files as pages of `client/` do.

    Its `<script type="module" src="/client/results.js"></script>` gets the URL of this release's
    file, and its imports are loaded at the same time.
    """
    rendered, allowed = Request.get_current().app.ctx.files.current().pages.render(text)
    headers = {"Cache-Control": "no-cache", **_policy(allowed)}
    return raw(rendered, status, headers, "text/html; charset=utf-8")


async def _file(request: Request, **_: str) -> HTTPResponse | ResponseStream:
    return await request.app.ctx.files.answer(request, unquote(request.path))


class Served:
    """The files as they were at one time."""

    def __init__(
        self, client: Path, release: str, prefix: str = "", *, follow: bool = False
    ) -> None:
        """With `follow`, pages compare their files with LISTING, and show edits."""
        self.files = {
            **read_folder(ENGINE, "/gospa/"),
            f"/gospa/{ENTRY}": file_of(ENTRY, bundle(ENGINE).encode()),
            **read_folder(client, "/client/"),
        }
        digests = "".join(path + each.digest for path, each in sorted(self.files.items()))
        self.release = release or digest_of((digests + code_digest()).encode())[:12]
        if follow:
            seen = {path: each.digest for path, each in self.files.items()}
            listing = json.dumps({**seen, "code": code_digest()})
            self.files[LISTING] = file_of(LISTING, listing.encode())
        self.pages = Pages(self.files, self.release, prefix, follow=follow)
        for path, each in list(self.files.items()):
            if each.kind.startswith("text/html") and each.content is not None:
                text, allowed = self.pages.render(each.content.decode(errors="replace"))
                self.files[path] = file_of(path, text.encode(), allowed)


class Files:
    """Answers requests for files."""

    def __init__(
        self,
        shared: Storage | None,
        release: str,
        prefix: str = "",
        *,
        follow: bool,
        served: Served | None = None,
    ) -> None:
        """`prefix`: GOSPA_PATH_PREFIX. With `follow`, read edits. `served`: files read before."""
        self._shared = shared
        self._release, self._prefix = release, prefix
        self._follow = follow
        self._served = served or self._read()

    @property
    def release(self) -> str:
        """Which release this worker serves: GOSPA_RELEASE, or a hash of its files and code."""
        return self._served.release

    def current(self) -> Served:
        """The current files, for pages."""
        if self._follow:
            self._served = self._read()
        return self._served

    def _read(self) -> Served:
        seen = signature((CLIENT, ENGINE))
        return read_all(CLIENT, seen, self._release, self._prefix, follow=self._follow)

    async def publish(self) -> None:
        """Store scripts and styles for hosts of other releases."""
        if self._shared is None or self._follow:
            return
        files = [each for path, each in self._served.files.items() if path.endswith(SHARED)]
        packed = [(each.digest, gzip.compress(each.content)) for each in files if each.content]
        try:
            await asyncio.gather(
                *(self._shared.set(digest, content, ttl=KEPT_FOR) for digest, content in packed)
            )
        except StoreError as error:
            logger.warning("hosts of other releases cannot get the files of this one: %s", error)

    async def answer(self, request: Request, path: str) -> HTTPResponse | ResponseStream:
        """Answer with the file of a URL path; a large one is read as fast as the client reads.

        Raises NotFound.
        """
        found = self.current().files.get(path)
        wanted = request.args.get("v") if request.query_string else None
        if wanted and (found is None or wanted != found.digest):
            found = await self._of_another_release(path, wanted)
        if found is None:
            raise NotFound("there is no such file", headers={"Cache-Control": "no-store"})
        headers = {
            "Cache-Control": FOR_EVER if wanted else "no-cache",
            "ETag": f'W/"{found.digest}"',
            "Vary": "Accept-Encoding",
            **_policy(found.policy),
        }
        if found.digest in request.headers.get("if-none-match", ""):
            return HTTPResponse(status=304, headers=headers)
        if found.path is not None:
            headers["Content-Length"] = str(found.path.stat().st_size)
            return ResponseStream(partial(_send, found.path), 200, headers, found.kind)
        content, accepted = found.content, request.headers.get("accept-encoding", "")
        if found.packed is not None and _GZIP.search(accepted):
            content = found.packed
            headers["Content-Encoding"] = "gzip"
        return HTTPResponse(content, headers=headers, content_type=found.kind)

    async def _of_another_release(self, path: str, wanted: str) -> File | None:
        """The file that a page of another release requests by this path and hash."""
        if self._shared is None or not _HASH.fullmatch(wanted):
            return None
        try:
            packed = await self._shared.get(wanted)
        except StoreCorrupt:
            return None
        content = _unpacked(wanted, packed) if packed else None
        return None if content is None else file_of(path, content)


async def _send(path: Path, response: Any) -> None:
    """Send a file in pieces, as fast as the client reads; it is closed whenever that ends."""
    # Not opened in a thread: that would leave it open if this task was cancelled meanwhile.
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            await response.write(piece)


def _unpacked(digest: str, packed: bytes) -> bytes | None:
    """The content of a file of another release, or None if the stored bytes are not that file."""
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        return None
    return content if digest_of(content) == digest else None


@lru_cache(maxsize=4)
def read_all(
    client: Path,
    seen: object,  # noqa: ARG001
    release: str,
    prefix: str,
    *,
    follow: bool,
) -> Served:
    """The current files; they are read again when `seen` differs."""
    return Served(client, release, prefix, follow=follow)


def _policy(allowed: str) -> dict[str, str]:
    """The Content-Security-Policy of a page with inline scripts of the engine."""
    if not allowed:
        return {}
    name = "Content-Security-Policy"
    return {name: HEADERS[name].replace("script-src 'self'", f"script-src 'self' {allowed}")}
