"""Fixtures of the template's tests."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

import tasks
from tests import conditions
from tests.baking import APP, DEFAULT, FOREIGN, ROOT, Baked, bake, combinations, name_of


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-snapshots", action="store_true", help="write tests/snapshots anew from what is"
    )


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template, without what else lies in this clone."""
    ignored = shutil.ignore_patterns(*FOREIGN)
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("clone") / "template", ignore=ignored)


@pytest.fixture(scope="session")
def matrix(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Baked]:
    """A project of each combination of choices, by its name; generated once, left as it is."""
    made = {}
    with conditions.watched():
        for answers in combinations():
            path = bake(template, tmp_path_factory.mktemp("baked"), answers)
            made[name_of(answers)] = Baked(path, answers)
    return made


@pytest.fixture(
    scope="session", params=combinations("state_backend", "session_backend"), ids=name_of
)
def baked(request: pytest.FixtureRequest, matrix: dict[str, Baked]) -> Baked:
    """A project of each combination of backends, with the first license."""
    return matrix[name_of({**DEFAULT, **request.param})]


@pytest.fixture(scope="session")
def project(baked: Baked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of each generated project, to work in."""
    return shutil.copytree(baked.path, tmp_path_factory.mktemp("project") / baked.path.name)


@pytest.fixture(scope="session")
def tree(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the template's tree as it is, with all backends, to work in."""
    return shutil.copytree(template / APP.name, tmp_path_factory.mktemp("tree") / APP.name)


@pytest.fixture
def own_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git and cruft without this user's settings."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.org")


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The path of a Chromium; without one the test is skipped, but in CI it fails."""
    if found := tasks.find_browser():
        return found
    with sync_playwright() as playwright:
        if Path(own := playwright.chromium.executable_path).exists():
            return own
    reason = "there is no Chromium: install it, or run `python -m playwright install chromium`"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
