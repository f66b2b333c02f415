"""A package of one's own is checked, tested and in the image without being listed anywhere."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.baking import CHECKS, DEFAULT, TYPES, Matrix, assert_succeeds, name_of, run
from tests.images import in_image

PRICES = '''"""Prices."""


def price(pieces: int) -> int:
    return 3 * pieces
'''
ROOM = '''"""A market that is a room of its own package."""

from gospa import Access, Items, Room, Session, State, action
from market.prices import price


class MarketState(State):
    sold: int = 0
    orders: Items[int] = Items(keep=10)


class Market(Room[MarketState]):
    pattern = "market"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def buy(self, state: MarketState, pieces: int) -> int:
        state.sold += pieces
        state.orders.append(pieces)
        return price(pieces)
'''
VIEW = '''"""What was sold."""

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

from gospa import session_of, tasks

blueprint = Blueprint("market")


@blueprint.get("/market")
async def show(request: Request) -> HTTPResponse:
    headers = {"Retry-After": str(tasks.RESTART_DELAY)}  # gospa exports this module itself
    return json((await session_of(request)).user, headers=headers)
'''
TEST = """import httpx

from gospa.testing import Connect, OpenApp, Site
from market.prices import price
from market.room import Market


def test_a_price() -> None:
    assert price(2) == 6


async def test_a_purchase(open_app: OpenApp, connect: Connect) -> None:
    async with open_app([Market]) as site, site.connect(user="ann") as ann:
        market = await ann.join("market")
        assert await market.call("buy", pieces=2) == 6
    async with connect() as bob:
        assert "sold" in (await bob.join("market")).state


async def test_the_page_and_what_app_py_opens(site: Site, http: httpx.AsyncClient) -> None:
    assert (await http.get("/market")).json() is None
    assert site.app.ctx.market == "open"
    async with site.http(user="ann") as ann:
        assert (await ann.get("/market")).json() == "ann"
"""
OPENING = """

@app.after_server_start
async def open_market(app: Sanic) -> None:
    app.ctx.market = "open"
"""
PACKAGE = {
    "market/__init__.py": '"""A package of one\'s own."""\n',
    "market/prices.py": PRICES,
    "market/room.py": ROOM,
    "market/view.py": VIEW,
    "market/tests/test_market.py": TEST,
    "scripts/buy.py": '"""Run by hand."""\n\nfrom gospa.client import Closed\n\nprint(Closed)\n',
    "scripts/sell.py": '"""Run by hand."""\n\nfrom app import app\n\nprint(app.name)\n',
}
APP = {
    "from gospa import Backends": "from sanic import Sanic\n\nfrom gospa import Backends",
    "from rooms import": "from market.room import Market\nfrom market.view import blueprint\n"
    "from rooms import",
    "BACKENDS, ROOMS, views=VIEWS": "BACKENDS, [*ROOMS, Market], views=[*VIEWS, blueprint]",
}
# A mistake, the check that has to notice it, and what that says.
MISTAKES = {
    "unused import": ("market/prices.py", "import os\n", "ruff check", "F401"),
    "format": ("market/prices.py", "x = {  }\n", "ruff format", "prices.py"),
    "type": ("market/prices.py", "x: int = ''\n", "mypy", "Incompatible types"),
    "type in a test": ("market/tests/test_market.py", "x: int = ''\n", "mypy", "Incompatible"),
    "app.py": ("market/prices.py", "from app import app\n", "import contracts", "imports app:"),
    "the engine's depths": (
        *("market/prices.py", "def f() -> None:\n    import gospa.live.hub\n"),
        *("import contracts", "imports gospa.live.hub:"),
    ),
    "a submodule": (
        "rooms/x.py",
        "from gospa import room\n",
        "import contracts",
        "rooms/x.py:1 imports gospa.room:",
    ),
    "a module": ("jobs.py", "from gospa.room import Room\n", "import contracts", "jobs.py:1"),
    "a script": ("scripts/x.py", "import gospa.errors\n", "import contracts", "gospa.errors:"),
    "a part of the client": (
        *("scripts/x.py", "import gospa.remote.room\n"),
        *("import contracts", "imports gospa.remote.room:"),
    ),
    "fixtures": ("market/x.py", "import gospa.testing\n", "import contracts", "gospa.testing:"),
    "a backend": (
        *("views/x.py", "from gospa import backends\n"),
        *("import contracts", "imports gospa.backends:"),
    ),
    "the engine": (
        *("gospa/errors.py", "def f() -> None:\n    from market import prices\n"),
        *("import contracts", "imports market.prices: the engine"),
    ),
}


def with_package(project: Path) -> Path:
    """Add a package and a script to a project, and have its app.py use them."""
    for name, text in PACKAGE.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    app = (project / "app.py").read_text()
    for before, after in APP.items():
        assert before in app
        app = app.replace(before, after)
    (project / "app.py").write_text(app + OPENING)
    return project


@pytest.fixture
def with_shop(matrix: Matrix, tmp_path: Path) -> Path:
    """A project with the package, to change."""
    return with_package(shutil.copytree(matrix[name_of(DEFAULT)].path, tmp_path / "project"))


@pytest.fixture(scope="module")
def shop(matrix: Matrix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the package: it and what checks it are the same with each backend."""
    folder = tmp_path_factory.mktemp("shop") / "project"
    shop = with_package(shutil.copytree(matrix[name_of(DEFAULT)].path, folder))
    assert_succeeds(TYPES, shop)
    return shop


@pytest.mark.parametrize("check", CHECKS)
def test_a_package_passes(shop: Path, check: str) -> None:
    assert_succeeds(CHECKS[check], shop)


@pytest.mark.parametrize("check", dict.fromkeys(check for _, _, check, _ in MISTAKES.values()))
def test_mistakes_are_noticed(with_shop: Path, check: str) -> None:
    """Each of them, when a check meets all at once."""
    made = [mistake for mistake in MISTAKES.values() if mistake[2] == check]
    for name, text, _, _ in made:
        with (with_shop / name).open("a") as file:
            file.write(text)
    done = run(CHECKS[check], with_shop)
    assert done.returncode != 0
    output = "".join((done.stdout + done.stderr).split("\n")).replace("  ", " ")
    assert [said for *_, said in made if said not in output] == []


def test_files_that_are_not_yours_do_not_stop_the_check(matrix: Matrix, tmp_path: Path) -> None:
    project = shutil.copytree(matrix[name_of(DEFAULT)].path, tmp_path / "project")
    old = project / "venv/lib/old.py"
    old.parent.mkdir(parents=True)
    old.write_text('print "Python 2"\n')
    (project / "venv/pyvenv.cfg").touch()
    (project / "rooms/here").symlink_to(".")
    (project / "rooms/gone.py").symlink_to("nowhere.py")
    assert_succeeds(CHECKS["import contracts"], project)


def test_its_tests_are_found_and_pass_whatever_the_environment_sets(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOSPA_SESSION_IDLE", "a value that would stop the application")
    found = run((sys.executable, "-m", "pytest", "--collect-only", "-q"), shop)
    assert "market/tests/test_market.py::test_a_purchase" in found.stdout
    assert "tests/test_board.py::" in found.stdout
    assert_succeeds((sys.executable, "-m", "pytest", "-q", "market"), shop)


def test_the_engines_tests_pass_with_an_app_that_was_changed(shop: Path) -> None:
    tests = ("tests/gospa/cli", "tests/gospa/web/test_application.py", "-m", "not slow")
    assert_succeeds((sys.executable, "-m", "pytest", "-q", *tests), shop)


def test_the_image_has_it_and_nothing_that_it_must_not_have(shop: Path) -> None:
    for secret in (".env", ".git/config", ".devstore/dump.rdb", ".venv/x.py", "client/.env"):
        (shop / secret).parent.mkdir(exist_ok=True)
        (shop / secret).write_text("SECRET=1\n")
    files = in_image(shop)
    needed = {"app.py", "rooms/board.py", "views/home.py", "client/index.html", "gospa/app.py"}
    package = {name for name in PACKAGE if "test" not in name}
    assert needed | package <= files
    assert {name.partition("/")[0] for name in files} == {
        *("LICENSE", "README.md", "app.py", "client", "gospa", "market", "pyproject.toml"),
        *("requirements.txt", "rooms", "scripts", "views"),
    }
    assert [name for name in files if "test" in name or "/." in f"/{name}"] == []
