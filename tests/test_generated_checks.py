"""Every generated project passes its own checks and its own tests.

Its engine and the tests of that are copies of the tree's, so that they are tested there, once, by
test_in_place.py. With --all, each project runs its whole suite.
"""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.baking import (
    APP,
    CHECKS,
    DEFAULT,
    TYPES,
    Baked,
    Matrix,
    assert_succeeds,
    contents,
    name_of,
)

GIVE = """
from rooms.stars import Stars, StarsState
stars, state = Stars("stars/home", {"page": "home"}), StarsState()
stars.give(state)
assert state.count == 1
"""


@pytest.mark.parametrize("check", CHECKS)
def test_passes(project: Path, check: str) -> None:
    assert_succeeds(CHECKS[check], project)


def test_engine_and_its_tests_are_those_of_the_tree(baked: Baked, template: Path) -> None:
    files = contents(baked.path)
    engine = {name for name in files if name.startswith(("gospa/", "tests/gospa/"))}
    assert engine > {"gospa/app.py", "tests/gospa/conftest.py"}
    tree = template / APP.name
    assert [name for name in engine if files[name] != (tree / name).read_bytes()] == []


def test_passes_the_users_tests(project: Path) -> None:
    assert_succeeds((sys.executable, "-m", "pytest", "-q", "--ignore=tests/gospa"), project)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_passes_all_its_tests(project: Path) -> None:
    assert_succeeds((sys.executable, "-m", "pytest", "-q"), project)


def room_of_the_readme(project: Path) -> list[str]:
    """The file of a room, and the line that lists it."""
    return re.findall(
        r"(?<=```python\n).*?(?=```)|(?<=`)ROOMS = .*?(?=`)",
        (project / "README.md").read_text(),
        re.DOTALL,
    )


def test_every_readme_adds_the_same_room(baked: Baked, matrix: Matrix) -> None:
    default = matrix[name_of(DEFAULT)].path
    assert room_of_the_readme(baked.path) == room_of_the_readme(default)


def test_the_room_that_the_readme_adds_works_and_passes_the_checks(
    matrix: Matrix, tmp_path: Path
) -> None:
    project = shutil.copytree(matrix[name_of(DEFAULT)].path, tmp_path / "project")
    room, listed = room_of_the_readme(project)
    (project / "rooms/stars.py").write_text(room)
    rooms = project / "rooms/__init__.py"
    text = re.sub(r"^ROOMS = .*$", listed, rooms.read_text(), flags=re.MULTILINE)
    rooms.write_text(text.replace("\nROOMS", "from rooms.stars import Stars\n\nROOMS"))
    assert_succeeds((sys.executable, "-c", GIVE), project)
    assert_succeeds(TYPES, project)
    for check in CHECKS.values():
        assert_succeeds(check, project)
