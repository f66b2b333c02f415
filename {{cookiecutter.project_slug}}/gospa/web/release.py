"""Identifies the release of the application."""

import os
from functools import cache
from hashlib import blake2b
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOREIGN = {"tests", "node_modules", "__pycache__"}  # folders that are not part of the application


@cache
def code_digest() -> str:
    """A hash of the application's Python code: of all modules below its folder."""
    digest = blake2b(digest_size=12)
    for place, folders, names in os.walk(ROOT):
        folders[:] = sorted(each for each in folders if _is_own(place, each))
        for name in sorted(names):
            if name.endswith((".py", ".lua")):
                path = Path(place, name)
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _is_own(place: str, folder: str) -> bool:
    """Whether a folder is neither hidden, nor a virtual environment, nor one of tests."""
    hidden = folder.startswith(".") or folder in FOREIGN
    return not hidden and not Path(place, folder, "pyvenv.cfg").exists()
