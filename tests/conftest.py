"""Fixtures of the template's tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from xdist.remote import Producer

import tasks
from tests.baking import APP, DEFAULT, FOREIGN, ROOT, Baked, Matrix, combinations, name_of, run
from tests.browsing import TIMEOUT, Site
from tests.groups import GROUPS, GroupScheduling, subject_of

NODE_PACKAGES = (
    *("typescript@5.9.3", "msgpack-test-suite@1.0.0", "esbuild@0.25.0"),
    *("react@19.1.0", "react-dom@19.1.0", "axe-core@4.14.1"),
)


# What takes longest, or needs a process for itself for long, and so starts first.
FIRST = (
    *("in_place", "matrix", "browser_faults", "client", "accessibility", "browser_failures"),
    *("browser_streams", "browser", "browser_sessions", "auction", "browser_rooms", "updating"),
    *("extras", "guide", "bare", "own_package", "combinations", "msgpack", "generated_checks"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-snapshots", action="store_true", help="rewrite tests/snapshots")
    parser.addoption("--all", action="store_true", help="run the tests that take minutes, too")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two more processes than there are cores, since half of the tests wait most of the time."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """Groups that do not depend on marks: xdist 3.8 does not see these with pytest 9.2."""
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put long tests first, and leave slow ones out."""
    left_out = [item for item in items if item.get_closest_marker("slow") and not wanted(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    items[:] = sorted((item for item in items if item not in left_out), key=rank)


def wanted(item: pytest.Item) -> bool:
    """Whether a slow test was asked for, by --all or by the name of its file."""
    named = [item.config.rootpath / name.partition("::")[0] for name in item.config.args]
    return bool(item.config.getoption("--all")) or item.path in named


def rank(item: pytest.Item) -> int:
    """The place of a test's file in the order."""
    subject = subject_of(item.nodeid)
    name = GROUPS.get(subject, subject)
    return FIRST.index(name) if name in FIRST else len(FIRST)


@pytest.fixture(scope="session", autouse=True)
def _bytecode_is_kept_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Programs that tests start share compiled modules, and write none into projects.

    Compiling the modules again would take each process of a server longer than all else it does.
    """
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(shared / "bytecode"))
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template, without what else lies in this clone."""
    ignored = shutil.ignore_patterns(*FOREIGN)
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("clone") / "template", ignore=ignored)


@pytest.fixture(scope="session")
def matrix(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """A project of each combination of choices, to leave as it is."""
    return Matrix(template, lambda: tmp_path_factory.mktemp("baked"))


@pytest.fixture(
    scope="session", params=combinations("state_backend", "session_backend"), ids=name_of
)
def baked(request: pytest.FixtureRequest, matrix: Matrix) -> Baked:
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
