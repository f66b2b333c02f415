"""A project made with cruft takes in later versions and other backends, and keeps its own edits."""

import json
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from tests.baking import (
    APP,
    CHECKS,
    Matrix,
    assert_succeeds,
    bake,
    combinations,
    commit,
    contents,
    name_of,
    run,
)

BACKENDS = combinations("state_backend", "session_backend")
SLUG = "my_live_app"
OLDER = "# as an older version had it\n"
SINCE_CHANGED = (
    *("pyproject.toml", "Makefile", ".editorconfig", "app.py"),
    *("rooms/__init__.py", "gospa/settings.py", "gospa/app.py"),
)
LOCKS = ("requirements-dev.txt", "requirements.txt")
SINCE_ADDED, SINCE_REMOVED = "docs/protocol.md", "gospa/older.py"
QUICK_TESTS = ("tests/gospa/store", "tests/gospa/test_settings.py", "tests/test_home.py")

# What a user does to a project: insert lines, add files, remove one.
EDITS = (
    ("app.py", "import Backends, create_app\n", "import Backends, create_app  # mine\n"),
    ("app.py", "extras import json_logs", "extras import http, json_logs"),
    ("app.py", "from views import VIEWS\n", "from views import VIEWS  # mine\n"),
    ("app.py", "EXTRAS = [\n", "EXTRAS = [\n    http,\n"),
    ("rooms/__init__.py", "ROOMS = [", "# Mine too.\nROOMS = ["),
    ("rooms/board.py", "MAX_NOTES = ", "MAX_NOTES = 1 + "),
    ("gospa/settings.py", 'PREFIX = "GOSPA_"\n', 'PREFIX = "GOSPA_"\nMINE = "kept"\n'),
    ("client/index.html", "</body>", "<p>mine</p></body>"),
    ("README.md", "## Add a room\n", "Mine too.\n\n## Add a room\n"),
    ("pyproject.toml", 'client>=0.21,<1",\n', 'client>=0.21,<1",\n    "mine>=1",\n'),
)
ADDED = {"rooms/mine.py": '"""Mine."""\n', ".env": "REDIS_URL=redis://:secret@localhost\n"}
REMOVED = ".editorconfig"


pytestmark = pytest.mark.usefixtures("own_git")


@pytest.fixture
def releases(template: Path, tmp_path: Path) -> Path:
    """A repository of the template: first an older version, then this one."""
    repository = shutil.copytree(template, tmp_path / "releases")
    tree = repository / APP.name
    for name in SINCE_CHANGED:
        (tree / name).write_text((tree / name).read_text() + OLDER)
    (tree / SINCE_ADDED).unlink()
    (tree / SINCE_REMOVED).write_text(OLDER)
    options = json.loads((repository / "cookiecutter.json").read_text())
    options["_copy_without_render"][-1] = "*.older"
    (repository / "cookiecutter.json").write_text(json.dumps(options))
    commit(repository, "v1")
    shutil.rmtree(tree)
    shutil.copytree(template, repository, dirs_exist_ok=True)
    commit(repository, "v2")
    return repository


def create(template: Path, output: Path, answers: dict[str, str], *options: str) -> Path:
    """Generate a project with cruft, and commit it."""
    output.mkdir()
    context = ("--extra-context", json.dumps(answers))
    command = ("cruft", "create", "--no-input", "--default-config", *context, *options)
    assert_succeeds((*command, str(template)), output)
    commit(output / SLUG, "generated")
    return output / SLUG


def edit(project: Path) -> None:
    for name, before, after in EDITS:
        text = (project / name).read_text()
        assert text.count(before) == 1, name
        (project / name).write_text(text.replace(before, after))
    for name, text in ADDED.items():
        (project / name).write_text(text)
    (project / REMOVED).unlink()


def update(project: Path, **answers: str) -> None:
    """Update as docs/updating.md says; conflicts are the caller's to look for."""
    changed = ("--variables-to-update", json.dumps(answers)) if answers else ()
    assert_succeeds(("cruft", "update", "--skip-apply-ask", *changed), project)


def files_of(project: Path) -> dict[str, bytes]:
    """What a project has, without what git and cruft keep, and the lock, which its owner writes."""
    return {
        name: content
        for name, content in contents(project).items()
        if not name.startswith(".git/") and name not in {".cruft.json", *LOCKS}
    }


def test_updates_and_changes_of_backends_keep_edits_and_pass_the_checks(
    releases: Path, template: Path, tmp_path: Path
) -> None:
    project = create(releases, tmp_path / "made", {}, "--checkout", "v1")
    assert OLDER in (project / "app.py").read_text()
    edit(project)
    commit(project, "edited")

    update(project)
    wanted = bake(template, tmp_path / "v2")
    edit(wanted)
    assert files_of(project) == files_of(wanted)
    commit(project, "updated")

    redis = {"state_backend": "redis", "session_backend": "redis"}
    update(project, **redis)
    wanted = bake(template, tmp_path / "v2-redis", redis)
    edit(wanted)
    assert files_of(project) == files_of(wanted)

    (project / ".env").unlink()
    for command in CHECKS.values():
        assert_succeeds(command, project)
    assert_succeeds((sys.executable, "-m", "pytest", "-q", *QUICK_TESTS), project)


# Each role from each backend to the other; the mixed ones with --all.
CHANGES = [
    pytest.param(old, new, marks=[pytest.mark.slow] * (len(set(old.values())) > 1))
    for old, new in zip(BACKENDS, reversed(BACKENDS), strict=True)
]


@pytest.mark.parametrize(("old", "new"), CHANGES, ids=name_of)
def test_cruft_makes_the_same_as_cookiecutter_and_changes_each_backend_to_the_other(
    old: dict[str, str], new: dict[str, str], template: Path, matrix: Matrix, tmp_path: Path
) -> None:
    repository = shutil.copytree(template, tmp_path / "template")
    commit(repository, "v1")
    project = create(repository, tmp_path / "made", old)
    made = matrix[name_of({**old, "license": "MIT"})].path
    assert files_of(project) == files_of(made)
    assert [
        name for name in LOCKS if (project / name).read_bytes() != (made / name).read_bytes()
    ] == []
    edit(project)
    commit(project, "edited")
    update(project, **new)
    wanted = shutil.copytree(matrix[name_of({**new, "license": "MIT"})].path, tmp_path / "wanted")
    edit(wanted)
    assert files_of(project) == files_of(wanted)


# Where an update cannot succeed by itself, cruft's exit code does not tell.


def contradict(project: Path) -> None:
    """Edit a line that the next version changes too."""
    app = project / "app.py"
    app.write_text(app.read_text().replace(OLDER, "# mine\n"))


def test_contradicting_edit_is_marked_as_a_conflict(releases: Path, tmp_path: Path) -> None:
    project = create(releases, tmp_path / "made", {}, "--checkout", "v1")
    contradict(project)
    commit(project, "edited")
    update(project)
    assert run(("git", "diff", "--check"), project).returncode != 0
    assert "UU app.py" in run(("git", "status", "--short"), project).stdout


def test_contradicting_edit_without_history_is_rejected_into_a_file(
    releases: Path, tmp_path: Path
) -> None:
    project = create(releases, tmp_path / "made", {}, "--checkout", "v1")
    contradict(project)
    shutil.rmtree(project / ".git")
    commit(project, "edited")
    update(project)
    assert [path.name for path in project.rglob("*.rej")] == ["app.py.rej"]
    assert "# mine" in (project / "app.py").read_text()


def test_what_cruft_leaves_alone_is_nothing_that_is_generated_but_the_lock(matrix: Matrix) -> None:
    for answers in BACKENDS:
        baked = matrix[name_of({**answers, "license": "MIT"})]
        project = tomllib.loads((baked.path / "pyproject.toml").read_text())
        skipped = set(project["tool"]["cruft"]["skip"])
        assert skipped == {".devstore", ".env", ".venv", *LOCKS}
        ignored = (baked.path / ".gitignore").read_text().split()
        assert skipped - {*LOCKS} <= {name.strip("/") for name in ignored}
        assert skipped & {Path(name).parts[0] for name in contents(baked.path)} == {*LOCKS}
