"""Every generated project passes its own checks and its own tests.

Its engine and the tests of that are copies of the tree's, so that they are tested there, once, by
test_in_place.py. With --all, each project runs its whole suite.
"""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.baking import APP, CHECKS, Baked, assert_succeeds, contents

VOTE = """
from rooms import ROOMS
from gospa.action import Member, bind_action
from gospa.live.router import Router
from gospa.sessions.session import new_session
from gospa.store.draft import Draft
session = new_session(0)
key, poll = Router(ROOMS).resolve("poll/lunch", session)
draft = Draft(poll.initial_fields)
bind_action(poll, "vote", Member(session=session), {"yes": True})(draft)
assert dict(draft) == {"yes": 1, "no": 0}
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


def test_the_room_that_the_readme_adds_works_and_passes_the_checks(
    baked: Baked, tmp_path: Path
) -> None:
    project = shutil.copytree(baked.path, tmp_path / "project")
    guide = (project / "README.md").read_text()
    (room,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (listed,) = re.findall(r"`(ROOMS = .*?)`", guide)
    (project / "rooms/poll.py").write_text(room)
    rooms = project / "rooms/__init__.py"
    text = re.sub(r"^ROOMS = .*$", listed, rooms.read_text(), flags=re.MULTILINE)
    rooms.write_text(text.replace("\nROOMS", "from rooms.poll import Poll\n\nROOMS"))
    assert_succeeds((sys.executable, "-c", VOTE), project)
    for check in CHECKS.values():
        assert_succeeds(check, project)
