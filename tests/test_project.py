"""Workflows, forms and releases of the template, and of what it generates."""

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.baking import APP, CHOICES, ROOT, Matrix, run

WORKFLOWS = ".github/workflows"
# By commit, which nobody can move, and for people by the version that it is.
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def workflows(root: Path) -> dict[str, Any]:
    found = {path.name: read(path) for path in (root / WORKFLOWS).glob("*.yml")}
    assert "ci.yml" in found
    return found


def steps(root: Path) -> Iterator[dict[str, Any]]:
    for workflow in workflows(root).values():
        for job in workflow["jobs"].values():
            yield from job["steps"]


def actions(root: Path) -> Iterator[str]:
    """What workflows use, with the comments that YAML drops."""
    for path in (root / WORKFLOWS).glob("*.yml"):
        yield from re.findall(r"\buses: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(params=["template", "generated"])
def root(request: pytest.FixtureRequest, matrix: Matrix) -> Path:
    """The template, and the default project."""
    return ROOT if request.param == "template" else next(iter(matrix.values())).path


def test_workflows_may_do_little_and_not_for_ever(root: Path) -> None:
    for workflow in workflows(root).values():
        assert workflow["permissions"] == {"contents": "read"}
        assert True in workflow  # `on`, which YAML 1.1 takes for a truth value
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= (240 if "schedule" in workflow[True] else 60)


def test_actions_are_pinned(root: Path) -> None:
    used = list(actions(root))
    assert len(used) == len([step for step in steps(root) if "uses" in step])
    assert [action for action in used if not PINNED.fullmatch(action)] == []


def test_template_and_project_use_the_same_actions(matrix: Matrix) -> None:
    project = next(iter(matrix.values()))
    assert set(actions(project.path)) <= set(actions(ROOT))


def test_checkouts_keep_no_credentials(root: Path) -> None:
    for step in steps(root):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_commands_have_no_expressions_and_exist(root: Path) -> None:
    """An expression in a command would run what a branch or a title is called."""
    targets = run(("make", "help"), root).stdout
    for command in [step["run"] for step in steps(root) if "run" in step]:
        assert "${{" not in command
        assert run(("bash", "-n", "-c", command), root).returncode == 0
        for target in re.findall(r"^make (\w+)$", command, re.MULTILINE):
            assert re.search(rf"^{target}\b", targets, re.MULTILINE)
        for script in re.findall(r"\.ci/\S+", command):
            assert (root / script).is_file()


def test_pythons_of_the_workflows_are_supported(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    tested = workflows(root)["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tested[0] == oldest


def test_dependabot_looks_after_packages_and_actions(root: Path) -> None:
    config = read(root / ".github/dependabot.yml")
    assert config["version"] == 2
    assert {update["package-ecosystem"] for update in config["updates"]} == {
        "pip",
        "github-actions",
    }
    for update in config["updates"]:
        for folder in update.get("directories", [update.get("directory")]):
            assert (root / folder.removeprefix("/")).is_dir()


def test_dependabot_can_read_the_projects_requirements_as_they_are() -> None:
    project = tomllib.loads((APP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(line.startswith("redis") for line in project["dependencies"])


def test_forms_ask_for_the_choices_there_are() -> None:
    folder = ROOT / ".github/ISSUE_TEMPLATE"
    forms = {path.stem: read(path) for path in folder.glob("*.yml") if path.stem != "config"}
    assert forms.keys() == {"bug", "idea"}
    for form in forms.values():
        assert {"name", "description", "body"} <= form.keys()
        assert [field for field in form["body"] if not field["attributes"].get("label")] == []
    asked = {field["id"]: field["attributes"].get("options") for field in forms["bug"]["body"]}
    for name in ("state_backend", "session_backend"):
        assert asked[name] == CHOICES[name]


# Releases


def test_changelog_has_dated_versions_the_newest_first_and_it_is_ours() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *headings = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    assert first == "[Unreleased]"
    form = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d")
    assert [heading for heading in headings if not form.fullmatch(heading)] == []
    versions = [tuple(map(int, form.sub(r"\1 \2 \3", heading).split())) for heading in headings]
    assert all(newer > older for newer, older in pairwise(versions))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = tuple(map(int, project["version"].split(".")))
    assert versions[:1] in ([], [ours])


def test_files_of_the_template_suit_windows() -> None:
    listed = run(("git", "ls-files"), ROOT).stdout.splitlines()
    assert [name for name in listed if re.search(r'[<>:"\\|?*]', name)] == []
