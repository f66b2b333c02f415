"""Packages that only some tests need."""

import os
import subprocess
from pathlib import Path

import pytest


def install(python: str | Path, *arguments: str) -> None:
    """Have pip install; where it finds a package nowhere, skip the test, but in CI fail."""
    command = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = f"pip cannot install {' '.join(arguments)}: {done.stderr[-300:]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
