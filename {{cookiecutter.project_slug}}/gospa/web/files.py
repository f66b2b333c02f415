"""The files that browsers load, read once, and identified by a hash of their content."""

import gzip
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from mimetypes import guess_type
from pathlib import Path

HELD = 1024 * 1024  # bytes; a larger file is read from the disk for each answer
TEXT = ("text/", "application/json", "application/javascript", "image/svg", "application/manifest")
SKIPPED = "node_modules"  # a bundler copies the files that pages use


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was when it was read."""

    kind: str  # its content type
    digest: str  # of its content
    content: bytes | None  # None if it is larger than HELD
    packed: bytes | None = None  # the same with gzip, if that is smaller
    path: Path | None = None  # of a larger file
    policy: str = ""  # of a page: additions to its Content-Security-Policy, see `pages`


def digest_of(content: bytes) -> str:
    return blake2b(content, digest_size=12).hexdigest()


def file_of(name: str, content: bytes, policy: str = "") -> File:
    """A file of this name with this content."""
    kind = guess_type(name)[0] or "application/octet-stream"
    packed = None
    if kind.startswith(TEXT):
        kind += "; charset=utf-8"
        packed = gzip.compress(content, mtime=0)
        packed = packed if len(packed) < len(content) else None
    return File(kind, digest_of(content), content, packed, policy=policy)


def read_folder(folder: Path, prefix: str) -> dict[str, File]:
    """All files of a folder by URL path, except those whose name or folder begins with a dot."""
    return {prefix + name: _read(name, path) for name, path in _walk(folder)}


def signature(folders: Iterable[Path]) -> frozenset[tuple[str, int, int]]:
    """A value that changes with each edit in one of the folders."""
    found = [path for folder in folders for _, path in _walk(folder)]
    stats = [(str(path), path.stat()) for path in found]
    return frozenset((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def _read(name: str, path: Path) -> File:
    if path.stat().st_size <= HELD:
        return file_of(name, path.read_bytes())
    kind = guess_type(name)[0] or "application/octet-stream"
    digest = blake2b(digest_size=12)
    with path.open("rb") as file:
        while part := file.read(HELD):
            digest.update(part)
    return File(kind, digest.hexdigest(), None, path=path)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each file with its path below the folder; a link counts if it stays in the folder."""
    top = folder.resolve()
    for place, folders, names in os.walk(top):
        folders[:] = sorted(each for each in folders if each != SKIPPED and each[0] != ".")
        for name in sorted(names):
            path = Path(place, name)
            found = path.resolve()
            inside = found.is_relative_to(top) and found.is_file()
            hidden = any(each.startswith(".") for each in (name, *found.parts[len(top.parts) :]))
            if inside and not hidden:
                yield path.relative_to(top).as_posix(), found
