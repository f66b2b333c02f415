"""Builds the servers that are written in Go."""

import os
import shutil
import subprocess
from pathlib import Path

from environments import say

SOURCES = Path(__file__).parent / "servers"
CENTRIFUGO, VERSION = "github.com/centrifugal/centrifugo/v6", "v6.9.1"
MAP_BROKER = "mapbroker"


def build(cache: Path) -> None:
    """Have them in the cache, each once; without Go, or if that fails, they are left out."""
    folder = cache / "go"
    if shutil.which("go") is None:
        return
    folder.mkdir(exist_ok=True)
    if not _has_version(folder / "centrifugo"):
        say("Building Centrifugo: once, for some minutes.")
        _go(folder, "install", f"{CENTRIFUGO}@{VERSION}")
    source, program = SOURCES / MAP_BROKER, folder / MAP_BROKER
    changed = max(file.stat().st_mtime for file in source.iterdir())
    if not program.exists() or program.stat().st_mtime < changed:
        say("Building the server with centrifuge's map broker: once.")
        _go(folder, "build", "-C", source, "-o", program, ".")


def _has_version(program: Path) -> bool:
    if not program.exists():
        return False
    said = subprocess.run(
        ["go", "version", "-m", program], capture_output=True, text=True, check=False
    ).stdout
    return f"mod\t{CENTRIFUGO}\t{VERSION}" in said


def _go(folder: Path, *command: str | Path) -> None:
    env = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"}
    if subprocess.run(["go", *command], env=env, check=False).returncode:
        say("go could not: this server is left out.")
