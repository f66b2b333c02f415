"""The example can be removed: `make bare` does so, and nothing of the engine needs it."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.baking import (
    APP,
    CHECKS,
    DEFAULT,
    TYPES,
    Matrix,
    assert_succeeds,
    combinations,
    commit,
    contents,
    name_of,
    run,
)

BARE = (sys.executable, "bare.py")
REDIS = {**DEFAULT, "state_backend": "redis", "session_backend": "redis"}
NAMES = re.compile(r"\b(?:[Bb]oards?|[Ll]ounge|[Aa]ccount|Me)\b|[\"']me[\"'@/#]")
EXAMPLE = re.compile(rf"{NAMES.pattern}|\b(?:from|import) (?:rooms|views)\b")


def remove_example(project: Path) -> None:
    done = run(("make", "bare", f"PYTHON={sys.executable}"), project)
    assert done.returncode == 0, done.stderr
    assert "rooms/board.py" in done.stdout


def bare(*arguments: str, project: Path) -> subprocess.CompletedProcess[str]:
    return run((*BARE, *arguments), project)


@pytest.fixture
def example(matrix: Matrix, tmp_path: Path) -> Path:
    """A project that still has the example."""
    return shutil.copytree(matrix[name_of(REDIS)].path, tmp_path / "project")


def combination(answers: dict[str, str]) -> Any:
    """A parameter: with Redis alone always, the others with --all."""
    marks = () if {**DEFAULT, **answers} == REDIS else pytest.mark.slow
    return pytest.param(answers, id=name_of(answers), marks=marks)


@pytest.fixture(
    scope="module",
    params=[combination(each) for each in combinations("state_backend", "session_backend")],
)
def emptied(
    request: pytest.FixtureRequest, matrix: Matrix, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project of each combination of backends without the example."""
    made = matrix[name_of({**DEFAULT, **request.param})].path
    project = shutil.copytree(made, tmp_path_factory.mktemp("bare") / made.name)
    remove_example(project)
    return project


# What is left


@pytest.mark.parametrize("check", CHECKS)
def test_a_project_without_the_example_passes(emptied: Path, check: str) -> None:
    assert_succeeds(CHECKS[check], emptied)


def test_a_project_without_the_example_passes_its_tests(emptied: Path) -> None:
    """The engine's run without the example in test_in_place.py."""
    pytest_ = (sys.executable, "-m", "pytest", "-q")
    assert_succeeds((*pytest_, "--collect-only"), emptied)
    assert_succeeds((*pytest_, "--ignore=tests/gospa"), emptied)


def test_what_is_left_is_one_page_and_nothing_speaks_of_the_example(emptied: Path) -> None:
    left = contents(emptied)
    assert not {name for name in left if re.search("board|lounge|account|bare.py", name)}
    own = {name for name in left if name.partition("/")[0] in ("rooms", "views", "client")}
    assert own == {
        *("rooms/__init__.py", "views/__init__.py", "views/home.py"),
        *("client/index.html", "client/index.js", "client/style.css"),
    }
    assert [name for name in left if re.fullmatch(r"tests/[^/]+", name)] == ["tests/test_home.py"]
    texts = {*own, *(name for name in left if name.endswith(".md"))}
    assert [name for name in texts if NAMES.search(left[name].decode())] == []


def test_a_room_is_added_to_a_project_without_the_example(example: Path) -> None:
    """As its README says."""
    remove_example(example)
    guide = (example / "README.md").read_text()
    (room,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (listed,) = re.findall(r"`(ROOMS: .*?)`", guide)
    (example / "rooms/stars.py").write_text(room)
    rooms = example / "rooms/__init__.py"
    text = re.sub(r"^ROOMS: .*$", listed, rooms.read_text(), flags=re.MULTILINE)
    rooms.write_text(text.replace("\n\nROOMS", "\nfrom rooms.stars import Stars\n\nROOMS"))
    assert_succeeds(TYPES, example)
    for check in CHECKS.values():
        assert_succeeds(check, example)


def test_where_it_is_installed_the_types_for_scripts_are_those_of_the_rooms_that_stay(
    example: Path,
) -> None:
    (room,) = re.findall(r"```python\n(.*?)```", (example / "README.md").read_text(), re.DOTALL)
    (example / "rooms/stars.py").write_text(room)
    rooms = example / "rooms/__init__.py"
    text = rooms.read_text().replace(
        "\n\nROOMS = [", "\nfrom rooms.stars import Stars\n\nROOMS = [Stars, "
    )
    rooms.write_text(text)
    (example / ".venv").symlink_to(sys.prefix)
    remove_example(example)
    assert_succeeds(CHECKS["types of rooms"], example)


def test_nothing_of_the_engine_names_the_example() -> None:
    files = [
        path
        for folder in ("gospa", "tests/gospa")
        for path in (APP / folder).rglob("*")
        if path.suffix in {".py", ".js", ".lua"}
    ]
    assert files
    developing = re.compile("gospa/dev/")  # which writes rooms, and so imports of them
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    named = {path for path, text in texts.items() if EXAMPLE.search(text)}
    assert {path for path in named if not developing.search(str(path))} == set()
    assert {path for path in named if NAMES.search(texts[path])} == set()


@pytest.mark.parametrize(
    "text", ["from rooms import ROOMS", '"me"', "'me@x'", "Board()", '"board/a"', "/account/log-in"]
)
def test_a_name_of_the_example_would_be_noticed(text: str) -> None:
    assert EXAMPLE.search(text)


# How it is removed


def test_it_knows_the_example_as_it_is(request: pytest.FixtureRequest) -> None:
    program = APP / "bare.py"
    text = program.read_text(encoding="utf-8")
    module = runpy.run_path(str(program))
    recorded = module["EXAMPLE"]
    digests = {name: module["digest"]((APP / name).read_bytes()) for name in recorded}
    if request.config.getoption("--write-snapshots"):
        for name, digest in recorded.items():
            text = text.replace(f'"{name}": "{digest}"', f'"{name}": "{digests[name]}"')
        program.write_text(text, encoding="utf-8")
    else:
        assert digests == recorded, "python3 tasks.py snapshots"


def test_every_file_of_yours_is_of_the_example_or_stays() -> None:
    stays = {
        *("rooms/__init__.py", "views/__init__.py", "views/home.py", "client/style.css"),
        "tests/test_home.py",
    }
    folders = [APP / name for name in ("rooms", "views", "client")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += (APP / "tests").glob("*.py")
    named = {path.relative_to(APP).as_posix() for path in files if "__pycache__" not in path.parts}
    listed = set(
        re.findall(r'^    "(.*?)": "[0-9a-f]+",$', (APP / "bare.py").read_text(), re.MULTILINE)
    )
    assert named - stays - {"client/rooms.d.ts"} == listed  # which `make types` makes


def test_a_second_time_it_has_nothing_to_do(example: Path) -> None:
    remove_example(example)
    before = contents(example)
    done = run(("make", "bare"), example)
    assert (done.returncode, done.stdout) == (0, "The example was removed before.\n")
    assert contents(example) == before


@pytest.mark.usefixtures("own_git")
@pytest.mark.parametrize("has_git", [True, False])
def test_changes_in_no_commit_are_not_removed_unless_that_is_wanted(
    example: Path, *, has_git: bool
) -> None:
    if has_git:
        commit(example, "generated")
    for name in ("rooms/board.py", "client/index.html"):
        with (example / name).open("a") as file:
            file.write("\n")
    before = contents(example)
    refused = bare(project=example)
    assert refused.returncode == 1
    assert "  rooms/board.py\n" in refused.stdout
    assert "  client/index.html\n" in refused.stdout
    assert "rooms/lounge.py" not in refused.stdout
    assert contents(example) == before
    assert run(("make", "bare", "YES=1", f"PYTHON={sys.executable}"), example).returncode == 0
    assert not (example / "rooms/board.py").exists()


@pytest.mark.usefixtures("own_git")
def test_changes_that_were_committed_are_removed(example: Path) -> None:
    with (example / "rooms/board.py").open("a") as file:
        file.write("\n# Mine.\n")
    commit(example, "mine")
    assert bare(project=example).returncode == 0
    assert not (example / "rooms/board.py").exists()


def test_a_run_that_was_interrupted_is_finished_by_the_next(example: Path) -> None:
    """What stands in the way is a folder where a file is written."""
    shutil.copytree(example, example.parent / "whole")
    (example / "docs/how-to.md.new").mkdir()
    assert bare(project=example).returncode != 0
    assert (example / "rooms/board.py").exists()
    (example / "docs/how-to.md.new").rmdir()
    remove_example(example)
    remove_example(example.parent / "whole")
    assert contents(example) == contents(example.parent / "whole")


def test_what_you_added_stays(example: Path) -> None:
    mine = {
        "rooms/poll.py": '"""Mine."""\n\nfrom rooms.board import Text\n\nPoll = Text\n',
        "rooms/__init__.py": '"""Mine."""\n\nfrom rooms.board import Board\n'
        "from rooms.poll import Poll\n\nROOMS = [\n    Board,\n    Poll,\n]\n",
        "views/__init__.py": '"""Mine."""\n\nfrom views import account, club, home\n\n'
        "VIEWS = [home.blueprint, account.blueprint, club.blueprint]\n",
        "client/board/mine.js": "\n",
        "client/style.css": "\n",
    }
    for name, text in mine.items():
        (example / name).write_text(text)
    (example / "rooms/old.py").write_bytes(b'# coding: latin-1\nname = "caf\xe9"\n')
    (example / "rooms/gone.py").symlink_to("nowhere.py")
    done = bare(project=example)
    assert done.returncode == 0, done.stderr
    assert "change them as well:\n  rooms/poll.py\n" in done.stdout
    for name in ("rooms/poll.py", "client/board/mine.js", "client/style.css"):
        assert (example / name).read_text() == mine[name]
    rooms, views = (example / "rooms/__init__.py", example / "views/__init__.py")
    assert rooms.read_text() == '"""Mine."""\n\nfrom rooms.poll import Poll\n\nROOMS = [Poll]\n'
    assert views.read_text().splitlines()[2:] == [
        "from views import club, home",
        "",
        "VIEWS = [home.blueprint, club.blueprint]",
    ]
