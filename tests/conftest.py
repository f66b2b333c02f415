"""Fixtures of the template's tests."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

import tasks
from tests.baking import APP, FOREIGN, ROOT, Baked, bake, combinations


def name_of(answers: dict[str, str]) -> str:
    return " ".join(f"{name.removesuffix('_backend')}={value}" for name, value in answers.items())


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template, without what else lies in this clone."""
    ignored = shutil.ignore_patterns(*FOREIGN)
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("clone") / "template", ignore=ignored)


@pytest.fixture(scope="session", params=combinations(), ids=name_of)
def baked(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Baked:
    """A project of each combination of backends, generated once and left as it is."""
    path = bake(template, tmp_path_factory.mktemp("baked"), request.param)
    return Baked(path, request.param)


@pytest.fixture(scope="session")
def project(baked: Baked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of each generated project, to work in."""
    return shutil.copytree(baked.path, tmp_path_factory.mktemp("project") / baked.path.name)


@pytest.fixture(scope="session")
def tree(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the template's tree as it is, with all backends, to work in."""
    return shutil.copytree(template / APP.name, tmp_path_factory.mktemp("tree") / APP.name)


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
