"""Fixtures of the template's tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

import tasks
from tests import conditions
from tests.baking import APP, DEFAULT, FOREIGN, ROOT, Baked, bake, combinations, name_of, run
from tests.browsing import TIMEOUT, Site

NODE_PACKAGES = ("typescript@5.9.3", "msgpack-test-suite@1.0.0")


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


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """What checks the client and comes from npm, kept in a cache; without npm, left out."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "gospa-template" / "-".join(NODE_PACKAGES).replace("@", "-")
    modules = folder / "node_modules"
    names = [package.partition("@")[0] for package in NODE_PACKAGES]
    if not all((modules / name / "package.json").exists() for name in names):
        folder.mkdir(parents=True, exist_ok=True)
        command = (npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder))
        done = run((*command, *NODE_PACKAGES), folder)
        if done.returncode:
            pytest.skip(f"npm could not install {NODE_PACKAGES}: {done.stderr[-300:]}")
    return modules


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """A Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the pages of a test complained of in their consoles."""
    return []


@pytest.fixture
def visitor(browser: Browser, site: Site, complaints: list[str]) -> Iterator[BrowserContext]:
    """A browser with cookies of its own."""
    with browser.new_context(base_url=site.address) as context:
        context.set_default_timeout(TIMEOUT * 1000)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on(
            "console",
            lambda line: (
                complaints.append(line.text) if line.type in {"error", "warning"} else None
            ),
        )
        yield context
