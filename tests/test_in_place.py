"""The template's tree is itself an application: its tools work on it as it is."""

import re
import sys
from pathlib import Path

import pytest

from tests.baking import APP, CHECKS, ROOT, assert_succeeds

JINJA = re.compile(r"\{\{-?\s*cookiecutter|\{%|^\s*#%", re.MULTILINE)


@pytest.mark.parametrize("check", CHECKS)
def test_tree_passes(tree: Path, check: str) -> None:
    assert_succeeds(CHECKS[check], tree)


def test_tree_serves_with_all_backends_in_it(tree: Path) -> None:
    """The whole suite is run in what is generated; here the backends stand side by side."""
    tests = ("backends", "sessions", "store", "live/test_socket.py")
    folders = [f"tests/gospa/{name}" for name in tests]
    assert_succeeds((sys.executable, "-m", "pytest", "-q", *folders), tree)


@pytest.mark.parametrize("check", ["ruff check", "ruff format", "mypy"])
def test_template_passes(check: str) -> None:
    assert_succeeds(CHECKS[check], ROOT)


@pytest.mark.parametrize("suffix", ["css", "html", "js", "lua", "py"])
def test_code_has_no_template_language(suffix: str) -> None:
    files = list(APP.rglob(f"*.{suffix}"))
    assert files
    assert [path for path in files if JINJA.search(path.read_text(encoding="utf-8"))] == []
