"""Every generated project passes its own checks and its own tests."""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from tests.baking import CHECKS, DEFAULT, Baked, assert_succeeds, name_of, run

VOTE = """
from rooms import ROOMS
from server.realtime.room import Directory
from server.sessions.session import new_session
from server.state.draft import Draft
session = new_session(0)
key, poll = Directory(ROOMS).resolve("poll/lunch", session)
draft = Draft(poll.initial_fields)
poll.bind_action("vote", session, {"yes": True})(draft)
assert dict(draft) == {"yes": 1, "no": 0}
"""


@pytest.mark.parametrize("check", CHECKS)
def test_passes(project: Path, check: str) -> None:
    assert_succeeds(CHECKS[check], project)


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest,
    matrix: dict[str, Baked],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, subprocess.CompletedProcess[str]]:
    """What the tests of each selected project say; of two at a time, as they mostly wait."""
    selected = [
        name_of(DEFAULT | cast("dict[str, str]", item.callspec.params["baked"]))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_passes_its_own_tests"
    ]

    def test(name: str) -> subprocess.CompletedProcess[str]:
        project = shutil.copytree(matrix[name].path, tmp_path_factory.mktemp("tested") / "project")
        return run((sys.executable, "-m", "pytest", "-q"), project)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(selected, pool.map(test, selected), strict=True))


@pytest.mark.timeout(1800)
def test_passes_its_own_tests(
    baked: Baked, outcomes: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    done = outcomes[name_of(baked.answers)]
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


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
