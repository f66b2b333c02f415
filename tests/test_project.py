"""Workflows, forms and releases of the template, and of what it generates."""

import configparser
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.baking import APP, CHECKS, CHOICES, ROOT, Matrix, run

TEMPLATE_CHECKS = ("ruff check", "ruff format", "mypy")  # as test_in_place.py runs them
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
    ecosystems = {"pip", "github-actions", "docker", "docker-compose"}
    assert {update["package-ecosystem"] for update in config["updates"]} == ecosystems
    files = {
        "pip": ("pyproject.toml", "requirements.txt", "requirements-dev.txt"),
        "docker": ("Dockerfile",),
        "docker-compose": ("compose.yaml",),
    }
    for update in config["updates"]:
        for folder in update.get("directories", [update.get("directory")]):
            place = root / folder.removeprefix("/")
            assert place.is_dir()
            for name in files.get(update["package-ecosystem"], ()):
                assert (place / name).is_file()


# What is said to whoever changes it, and what runs before a commit


def test_agents_page_is_short_and_what_it_names_is_there(root: Path) -> None:
    """Its commands are tested as those of all pages, by test_documentation.py."""
    text = (root / "AGENTS.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    table = re.findall(r"^\| `(.*?)` \|", text, re.MULTILINE)
    assert len(table) >= 5
    targets = run(("make", "help"), root).stdout
    for target in re.findall(r"`make ([\w-]+)", text):
        assert re.search(rf"^{target}\b", targets, re.MULTILINE), target
    places = [span for span in re.findall(r"`([\w./{}]+)`", text) if re.search(r"/|\.\w", span)]
    assert {"tests/"} <= set(places)
    for place in places:
        made = place == ".venv" or place.startswith("room.")  # by a command, or no file at all
        assert made or (root / place).exists() or (APP / place).exists(), place


def hooks_of(root: Path) -> list[str]:
    """What pre-commit runs."""
    (repository,) = read(root / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"  # the versions are those of the lock
    hooks = repository["hooks"]
    assert len({hook["id"] for hook in hooks}) == len(hooks)
    for hook in hooks:
        assert (hook["language"], hook["pass_filenames"]) == ("system", False)
        assert "files" in hook or hook["types"] == ["python"]
    return [hook["entry"] for hook in hooks]


def test_pre_commit_runs_what_make_check_runs(matrix: Matrix) -> None:
    project = next(iter(matrix.values())).path
    shown = run(("make", "--dry-run", "check"), project).stdout
    assert hooks_of(project) == re.findall(r"'(\.venv/bin/.*?)'", shown)
    ours = [" ".join(CHECKS[name]).replace(" --no-cache", "") for name in TEMPLATE_CHECKS]
    assert sorted(hooks_of(ROOT)) == sorted(f".venv/bin/{check}" for check in ours)


def test_make_check_runs_all_checks_and_names_those_that_failed(
    matrix: Matrix, tmp_path: Path
) -> None:
    project = shutil.copytree(next(iter(matrix.values())).path, tmp_path / "project")
    programs = project / ".venv/bin"
    programs.mkdir(parents=True)
    for name, code in {"ruff": 1, "mypy": 0, "lint-imports": 1, "python": 0}.items():
        (programs / name).write_text(f'#!/bin/sh\necho "ran $0 $@"\nexit {code}\n')
        (programs / name).chmod(0o755)
    (project / ".venv/.installed").touch()
    done = run(("make", "check"), project)
    assert done.returncode != 0
    assert done.stdout.count("\nran ") == len(hooks_of(project))
    assert done.stdout.partition("These failed:\n")[2].splitlines() == [
        *("  .venv/bin/ruff check .", "  .venv/bin/ruff format --check ."),
        "  .venv/bin/lint-imports --no-logo",
    ]
    for name in ("ruff", "lint-imports"):
        (programs / name).write_text("#!/bin/sh\n")
    assert run(("make", "check"), project).returncode == 0


def test_editors_indent_as_the_formatter_does(root: Path) -> None:
    settings = configparser.ConfigParser()
    settings.read_string("[top]\n" + (root / ".editorconfig").read_text(encoding="utf-8"))
    assert settings["*"]["indent_size"] == "4"
    (two,) = [name for name in settings.sections() if name.startswith("*.{")]
    for suffix in ("css", "html", "js", "json", "lua", "ts", "yaml", "yml"):
        assert suffix in two


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


GH = """#!/bin/sh
echo "$@"
cat "$6"
"""


@pytest.fixture
def released(template: Path, tmp_path: Path) -> Path:
    """The template at the commit of version 7.1.0."""
    clone = shutil.copytree(template, tmp_path / "clone")
    changelog = clone / "CHANGELOG.md"
    section = "## [Unreleased]\n\n## [7.1.0] - 2031-02-03\n\n### Added\n\n- More.\n\n## [7.0.0]"
    changelog.write_text(changelog.read_text().replace("## [Unreleased]", section, 1))
    project = clone / "pyproject.toml"
    project.write_text(re.sub(r'(?m)^version = ".*"', 'version = "7.1.0"', project.read_text()))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gh").write_text(GH)
    (tmp_path / "bin/gh").chmod(0o755)
    return clone


def steps_of_the_release(clone: Path, tag: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run the commands of release.yml as the runner does, up to the first that fails."""
    monkeypatch.setenv("GITHUB_REF_NAME", tag)
    monkeypatch.setenv("RUNNER_TEMP", str(clone.parent))
    done: list[Any] = []
    (job,) = workflows(clone)["release.yml"]["jobs"].values()
    for command in [step["run"] for step in job["steps"] if "run" in step]:
        path = f"{clone.parent / 'bin'}:{os.environ['PATH']}"
        done.append(run(("bash", "-e", "-c", command), clone, path))
        if done[-1].returncode:
            break
    return done


def test_a_release_has_the_text_of_the_changelog(
    released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, last = steps_of_the_release(released, "v7.1.0", monkeypatch)
    notes = released.parent / "notes.md"
    told = f"release create v7.1.0 --verify-tag --notes-file {notes}\n### Added\n\n- More.\n"
    assert (last.returncode, last.stdout) == (0, told)


@pytest.mark.parametrize("tag", ["v7.1.1", "7.1.0", "v7.0.0"])
def test_a_tag_that_is_not_the_versions_releases_nothing(
    released: Path, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (only,) = steps_of_the_release(released, tag, monkeypatch)
    assert only.returncode == 1
    assert f"the tag {tag} is not that of version 7.1.0" in only.stderr


def test_a_version_without_a_dated_section_releases_nothing(
    released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changelog = released / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(" - 2031-02-03", ""))
    (only,) = steps_of_the_release(released, "v7.1.0", monkeypatch)
    assert "CHANGELOG.md has no section" in only.stderr


def test_files_of_the_template_suit_windows() -> None:
    listed = run(("git", "ls-files"), ROOT).stdout.splitlines()
    assert [name for name in listed if re.search(r'[<>:"\\|?*]', name)] == []
