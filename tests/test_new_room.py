"""`make new-room` writes a room that passes the checks and its test, in every project."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.baking import APP, CHECKS, DEFAULT, TYPES, Baked, Matrix, assert_succeeds, name_of, run
from tests.images import in_image

NEW_ROOM = (sys.executable, "-I", "gospa/dev/new_room.py")
SHORTEST, LONGEST = "q", "a_room_of_a_long_name_xy"


@pytest.fixture
def project(matrix: Matrix, tmp_path: Path) -> Path:
    return shutil.copytree(matrix[name_of(DEFAULT)].path, tmp_path / "project")


@pytest.mark.parametrize("is_bare", [False, True])
def test_rooms_of_short_and_long_names_pass_the_checks_and_their_tests(
    project: Path, *, is_bare: bool
) -> None:
    if is_bare:
        assert_succeeds((sys.executable, "bare.py"), project)
    for name in (SHORTEST, LONGEST):
        assert_succeeds((*NEW_ROOM, name), project)
    assert_succeeds(TYPES, project)
    for check in CHECKS.values():
        assert_succeeds(check, project)
    tests = [f"tests/test_{name}.py" for name in (SHORTEST, LONGEST)]
    assert_succeeds((sys.executable, "-m", "pytest", "-q", *tests), project)
    assert "interface QState" in (project / "client/rooms.d.ts").read_text()


def test_a_room_works_in_every_combination(baked: Baked, tmp_path: Path) -> None:
    project = shutil.copytree(baked.path, tmp_path / "project")
    assert_succeeds((*NEW_ROOM, "poll"), project)
    listed = "from app import app; from rooms import ROOMS; print(ROOMS[-1].pattern)"
    assert run((sys.executable, "-c", listed), project).stdout == "poll/<name>\n"
    assert_succeeds((sys.executable, "-m", "pytest", "-q", "tests/test_poll.py"), project)


def test_make_passes_the_name_on_and_writes_the_types(project: Path) -> None:
    shown = run(("make", "--dry-run", "new-room", "NAME=it's; true"), project).stdout
    first, second = shown.splitlines()[-2:]
    assert first == ".venv/bin/python -I gospa/dev/new_room.py 'its; true'"
    assert second == ".venv/bin/python -m gospa types"


def test_nothing_for_developers_is_in_the_image(project: Path) -> None:
    assert (APP / "gospa/dev/sample.py").is_file()
    assert [name for name in in_image(project) if name.startswith("gospa/dev")] == []
