"""A project's checks find the mistakes in its owner's code, and leave its style alone."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.baking import CHECKS, DEFAULT, Matrix, name_of, run
from tests.ordinary_code import CODE

# The mistakes, by what the marked line has, and how they are named. Nothing else may be found.
LINT = {
    "import os": "F401",
    "import datetime, timedelta": "F401",
    "datetime.now()": "DTZ005",
    "prices={}": "B006",
    "asyncio.create_task": "RUF006",
    "except:": "E722",
    "with open(": "ASYNC230 S108",
    "== None": "E711",
}
TYPES = {
    "order.by = session.user": "attr-defined",
    "amount='1'": "unused-coroutine arg-type",
}
STRICT = """
def untyped(value, flag=True):
    'A docstring.'
    return value  # TODO: types
"""


@pytest.fixture
def project(matrix: Matrix, tmp_path: Path) -> Path:
    """A project whose owner has a module of ordinary code, and one that passes the checks."""
    project = shutil.copytree(matrix[name_of(DEFAULT)].path, tmp_path / "project")
    (project / "views/orders.py").write_text(CODE)
    return project


def wanted(mistakes: dict[str, str]) -> list[tuple[int, str]]:
    """The line and name of each mistake."""
    lines = CODE.splitlines()
    found = []
    for text, names in mistakes.items():
        (number,) = [number for number, line in enumerate(lines, 1) if text in line]
        found += [(number, name) for name in names.split()]
    return sorted(found)


def test_ruff_finds_the_mistakes_and_nothing_else(project: Path) -> None:
    said = run(("ruff", "check", "--no-cache", "--output-format=concise", "."), project).stdout
    found = re.findall(r"^views/orders\.py:(\d+):\d+: ([A-Z]+\d+) ", said, re.MULTILINE)
    assert sorted((int(line), name) for line, name in found) == wanted(LINT)
    assert f"Found {len(found)} errors" in said


def test_mypy_finds_the_mistakes_and_nothing_else(project: Path) -> None:
    said = run(CHECKS["mypy"], project).stdout
    found = re.findall(r"^views/orders\.py:(\d+): error: .*\[([a-z-]+)\]$", said, re.MULTILINE)
    assert {(int(line), name) for line, name in found} == set(wanted(TYPES))
    assert f"Found {len(found)} errors" in said


def test_the_formatter_leaves_quotes_alone(project: Path) -> None:
    (project / "rooms/mine.py").write_text("name = 'mine'\nother = \"other\"\n")
    assert run(("ruff", "format", "--no-cache", "rooms/mine.py"), project).returncode == 0
    assert "'mine'" in (project / "rooms/mine.py").read_text()


@pytest.mark.parametrize("place", ["gospa/mine.py", "tests/gospa/live/test_mine.py"])
def test_the_engine_is_held_to_all_rules(project: Path, place: str) -> None:
    (project / place).write_text(STRICT)
    said = run(("ruff", "check", "--no-cache", "--output-format=concise", place), project).stdout
    assert {"ANN001", "ANN201", "Q002", "TD002"} <= set(re.findall(r": ([A-Z]+\d+) ", said))
    assert "[no-untyped-def]" in run((*CHECKS["mypy"], place), project).stdout


@pytest.mark.parametrize("place", ["rooms/mine.py", "tests/test_mine.py", "market/mine.py"])
def test_yours_may_be_of_any_style(project: Path, place: str) -> None:
    (project / "views/orders.py").unlink()
    (project / place).parent.mkdir(exist_ok=True)
    (project / place).write_text(STRICT)
    assert run(("ruff", "check", "--no-cache", place), project).returncode == 0
    assert run((sys.executable, "-m", "mypy", place), project).returncode == 0
