"""Check that the lock has the packages that pyproject.toml requires; `make lock` writes it.

    python -I gospa/dev/lock.py

It does not import the application, whose packages may not be installed.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

PROJECT, IMAGE, DEVELOPMENT = "pyproject.toml", "requirements.txt", "requirements-dev.txt"
PINNED = re.compile(r"^([\w.-]+)==(\S+)(.*)$", re.MULTILINE)
HASHES = re.compile(r"(?: ;[^\\\n]*)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n")


def main() -> int:
    """Print the problems and the remedy; returns the exit code."""
    found = list(problems(Path.cwd()))
    print(*found, sep="\n", end="\n" * bool(found), file=sys.stderr)
    if found:
        print("Run `make lock`, then `make install`.", file=sys.stderr)
    return 1 if found else 0


def problems(root: Path) -> Iterator[str]:
    """Requirements of pyproject.toml that the lock lacks, and packages without a hash."""
    asked = tomllib.loads((root / PROJECT).read_text(encoding="utf-8"))
    wanted, tools = asked["project"]["dependencies"], asked["dependency-groups"]["dev"]
    pinned: dict[str, dict[NormalizedName, str]] = {}
    for name, needed in ((IMAGE, wanted), (DEVELOPMENT, [*wanted, *tools])):
        text = (root / name).read_text(encoding="utf-8")
        pinned[name] = {canonicalize_name(found[1]): found[2] for found in PINNED.finditer(text)}
        yield from _missing(name, needed, pinned[name])
        yield from _without_hash(name, text)
    for package, version in pinned[IMAGE].items():
        if pinned[DEVELOPMENT].get(package) != version:
            yield f"{DEVELOPMENT}: {package} is another version than in {IMAGE}"


def _missing(name: str, needed: list[str], pinned: dict[NormalizedName, str]) -> Iterator[str]:
    for requirement in map(Requirement, needed):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{name}: {requirement} is missing"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{name}: {requirement.name} {version} is not {requirement.specifier}"


def _without_hash(name: str, text: str) -> Iterator[str]:
    for found in PINNED.finditer(text):
        if not HASHES.match(text, found.end(2)):
            yield f"{name}: {found[1]} has no hash"


if __name__ == "__main__":
    sys.exit(main())
