"""The template's tree is itself an application: its tools work on it as it is."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.baking import APP, CHECKS, ROOT, assert_succeeds

JINJA = re.compile(r"\{\{-?\s*cookiecutter|\{%|^\s*#%", re.MULTILINE)
# The suite in parts that run side by side. Where a thousand clients or minutes of failures are
# needed, test_generated_checks.py runs the tests, with --all.
FOLDERS = ("process", "backends", "live", "fleet")
ENDING = "tests/gospa/process/test_ending.py"  # as long as all others of its folder
LONG = ("tests/gospa/chaos/test_chaos.py", "tests/gospa/fleet/test_graceful.py")
PARTS = {
    "ending": (ENDING,),
    **{n: (f"tests/gospa/{n}", f"--ignore={LONG[1]}", f"--ignore={ENDING}") for n in FOLDERS},
    "all else": (*(f"--ignore=tests/gospa/{name}" for name in FOLDERS), f"--ignore={LONG[0]}"),
    "chaos, but for runs": (LONG[0], "-m", "not slow"),
}


@pytest.mark.parametrize("check", CHECKS)
def test_tree_passes(tree: Path, check: str) -> None:
    assert_succeeds(CHECKS[check], tree)


@pytest.fixture(scope="session")
def bare_tree(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree without the example, whose own tests each generated project runs."""
    tree = shutil.copytree(template / APP.name, tmp_path_factory.mktemp("bare_tree") / APP.name)
    assert_succeeds((sys.executable, "bare.py"), tree)
    return tree


@pytest.mark.parametrize("part", PARTS)
def test_tree_passes_the_engines_tests_without_the_example(bare_tree: Path, part: str) -> None:
    """With all backends in it; the engine's tests of a generated project are the same files."""
    assert_succeeds((sys.executable, "-m", "pytest", "-q", *PARTS[part]), bare_tree)


@pytest.mark.parametrize("name", LONG)
def test_long_tests_exist(name: str) -> None:
    assert (APP / name).exists()


@pytest.mark.parametrize("check", ["ruff check", "ruff format", "mypy"])
def test_template_passes(check: str) -> None:
    assert_succeeds(CHECKS[check], ROOT)


@pytest.mark.parametrize("suffix", ["css", "html", "js", "lua", "py"])
def test_code_has_no_template_language(suffix: str) -> None:
    files = list(APP.rglob(f"*.{suffix}"))
    assert files
    assert [path for path in files if JINJA.search(path.read_text(encoding="utf-8"))] == []
