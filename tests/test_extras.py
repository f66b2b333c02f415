"""Each extra is one file and its name in app.py: a project without it is whole."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.baking import APP, CHECKS, DEFAULT, Matrix, assert_succeeds, name_of

EXTRAS = sorted(path.stem for path in APP.glob("gospa/extras/[a-z]*.py"))
OFF = ["http"]  # until the user names it
# What an extra could have touched: sockets, and the application as a whole.
REST = (*("tests/gospa/extras", "tests/gospa/live/test_connection.py", "-m", "not slow"),)


def test_app_names_every_extra_on_a_line_of_its_own() -> None:
    source = (APP / "app.py").read_text(encoding="utf-8")
    named = re.findall(r"^    (\w+),  # ", source, re.MULTILINE)
    assert sorted([*named, *OFF]) == EXTRAS


# Removed with --all only: nothing in the engine or the example could need them.
LITTLE = ("http", "json_logs")


@pytest.mark.parametrize(
    "extra",
    [pytest.param(name, marks=pytest.mark.slow) if name in LITTLE else name for name in EXTRAS],
)
def test_project_without_an_extra_is_whole(extra: str, matrix: Matrix, tmp_path: Path) -> None:
    project = shutil.copytree(matrix[name_of(DEFAULT)].path, tmp_path / "project")
    app = project / "app.py"
    source = re.sub(rf"^    {extra},  # .*\n", "", app.read_text(), flags=re.MULTILINE)
    source = re.sub(rf"(import .*?)(, {extra}\b|\b{extra}, )", r"\1", source)
    assert extra not in source
    app.write_text(source)
    (project / f"gospa/extras/{extra}.py").unlink()
    (project / f"tests/gospa/extras/test_{extra}.py").unlink()
    for check in CHECKS.values():
        assert_succeeds(check, project)
    assert_succeeds(
        (sys.executable, "-m", "pytest", "-q", "tests", "--ignore=tests/gospa"), project
    )
    assert_succeeds((sys.executable, "-m", "pytest", "-q", *REST), project)
