"""Every command and snippet in the documentation does what the text says.

What would take too long or need a network is checked as far as what it starts.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from packaging.requirements import Requirement
from playwright.sync_api import Browser, Page, expect, sync_playwright

import tasks
from tests.baking import (
    APP,
    CHECKS,
    CHOICES,
    DEFAULT,
    OPTIONS,
    ROOT,
    TYPES,
    Matrix,
    assert_succeeds,
    commit,
    contents,
    name_of,
    run,
)
from tests.browsing import (
    START_TIMEOUT,
    TIMEOUT,
    answers,
    expect_online,
    free_port,
    wait_for,
)
from tests.snippets import commands, snippets
from tests.test_in_place import LONG

HERE = "PATH_OR_URL_OF_THIS_REPOSITORY"
REDIS = {**DEFAULT, "state_backend": "redis", "session_backend": "redis"}
CHANGED = '{"state_backend": "redis", "session_backend": "redis"}'
APPEND = "CONFIG SET appendonly yes"
CHAOS = "python -m tests.gospa.chaos.run"
# Their code goes into one project.
PAGES = (
    *("README.md", "docs/how-to.md", "docs/rooms.md", "docs/server.md"),
    *("docs/database.md", "docs/recipes.md", "docs/two-rooms.md", "docs/user-data.md"),
    *("docs/error-reporting.md", "docs/alarms.md"),
)


def template_pages() -> dict[str, str]:
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}


def pages_of(project: Path) -> dict[str, str]:
    files = contents(project).items()
    return {name: content.decode() for name, content in files if name.endswith(".md")}


@pytest.fixture(scope="module")
def all_pages(matrix: Matrix) -> list[str]:
    """Every page, the application's ones as each combination has them."""
    found = list(template_pages().values())
    for baked in matrix.values():
        found += pages_of(baked.path).values()
    return found


# Commands


class Workplace:
    """A generated project whose `.venv` has this environment's programs; `sanic` gets a port."""

    def __init__(self, project: Path) -> None:
        """Prepare the project at this path."""
        self.project = project
        self.port = free_port()
        programs = project / ".venv/bin"
        programs.mkdir(parents=True)
        for name in ("python", "python3", "ruff", "mypy", "lint-imports"):
            (programs / name).symlink_to(Path(sys.executable).with_name(name))
        serve = f'#!/bin/sh\nexec {sys.executable} -m sanic "$@" --port={self.port}\n'
        (programs / "sanic").write_text(serve)
        (programs / "sanic").chmod(0o755)
        (project / ".venv/.installed").touch()

    @contextmanager
    def serving(self, command: str, environment: Mapping[str, str]) -> Iterator[str]:
        """Run a command that serves; yields the address."""
        path = f"{self.project / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
        with (self.project / "server.log").open("w+") as log:
            server = subprocess.Popen(
                ("/bin/sh", "-c", command),
                cwd=self.project,
                env={**os.environ, **environment, "PATH": path},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                address = f"http://127.0.0.1:{self.port}"
                wait_for(lambda: answers(address), START_TIMEOUT)
                yield address
            finally:
                os.killpg(server.pid, signal.SIGTERM)
                try:
                    server.wait(TIMEOUT)
                except subprocess.TimeoutExpired:
                    os.killpg(server.pid, signal.SIGKILL)
                    raise


@pytest.fixture
def workplace(matrix: Matrix, tmp_path: Path) -> Workplace:
    return Workplace(shutil.copytree(matrix[name_of(REDIS)].path, tmp_path / "project"))


def serves(command: str, workplace: Workplace) -> None:
    with workplace.serving(command, {}):
        pass


def works(command: str, workplace: Workplace) -> None:
    assert_succeeds(("sh", "-c", command), ROOT if "tasks.py" in command else workplace.project)


def shows_changes(command: str, workplace: Workplace) -> None:
    folder = workplace.project / shlex.split(command)[-1]
    folder.mkdir(parents=True)
    works("git init --quiet", workplace)
    works(command, workplace)


def is_made(command: str, workplace: Workplace) -> None:
    """`make` knows these targets, and what they start is there."""
    _, *arguments = shlex.split(command)
    (workplace.project / ".venv/.installed").unlink()
    done = run(("make", "--dry-run", *arguments), workplace.project)
    assert done.returncode == 0, done.stderr
    started = re.findall(r"\.venv/bin/[\w-]+", done.stdout)
    assert started
    assert all((workplace.project / program).exists() for program in started)


def is_a_task(command: str, _: Workplace) -> None:
    """`tasks.py` takes these arguments, and pytest those that are passed on."""
    arguments = shlex.split(command)[2:]
    options, rest = tasks.make_parser().parse_known_args(arguments)
    if options.task in tasks.TESTS and (rest or options.task == "snapshots"):
        passed_on = (*tasks.TESTS[options.task], *rest)
        collect = (sys.executable, "-m", "pytest", "--collect-only", "-q", *passed_on)
        assert_succeeds(collect, ROOT)


def generates(command: str, workplace: Workplace) -> None:
    """Answer each question with its default, from a repository of the template."""
    folder = workplace.project.parent
    repository = folder / "template"
    shutil.copytree(ROOT, repository, ignore=shutil.ignore_patterns(".*", "demo"))
    commit(repository, "v1")
    done = run(shlex.split(command.replace(HERE, str(repository))), folder, input="\n" * 20)
    assert done.returncode == 0, done.stderr
    assert (folder / "my_live_app/app.py").exists()


def is_in_a_sequence(command: str, workplace: Workplace) -> None:
    """Run by `test_the_page_on_updates_can_be_followed`."""
    assert command in commands((workplace.project / "docs/updating.md").read_text())


def needs_network(command: str, workplace: Workplace) -> None:
    """Tried at each release, as CONTRIBUTING.md says; here, that what is installed exists."""
    assert command.startswith(
        ("pip install ", "pipx run ", "uvx ", "uv run ", ".venv/bin/pip install ")
    )
    for file in re.findall(r"\S+\.txt", command):
        assert (workplace.project / file).is_file()


def serves_likewise(command: str, _: Workplace) -> None:
    """As the one that `serves`, or as the test with a browser."""
    assert re.fullmatch(
        r"make run( HOST=0\.0\.0\.0)?|(\.venv/bin/)?sanic app( --workers [14])?", command
    )


def explains_itself(command: str, workplace: Workplace) -> None:
    assert_succeeds((*shlex.split(command)[:3], "--help"), workplace.project)


def knows_its_options(command: str, workplace: Workplace) -> None:
    program, *arguments = shlex.split(command)
    assert program in ("python", ".venv/bin/python")
    options = [argument for argument in arguments if argument.startswith("--")]
    module = arguments[: arguments.index(options[0])]
    shown = run((sys.executable, *module, "--help"), workplace.project)
    assert shown.returncode == 0, shown.stderr
    assert [option for option in options if option not in shown.stdout] == []


def is_measured_by_bench(command: str, _: Workplace) -> None:
    arguments = shlex.split(command)[3:]
    shown = run((sys.executable, "-m", "bench", "--help"), ROOT)
    assert shown.returncode == 0, shown.stderr
    assert [argument for argument in arguments if argument not in shown.stdout] == []


def names_its_parts(command: str, workplace: Workplace) -> None:
    """Git is not asked: there is no update behind which it could look."""
    assert command.startswith("git ")
    assert run(("git", command.split()[1], "-h"), workplace.project).returncode == 129


def is_run_on_a_store(command: str, workplace: Workplace) -> None:
    """Run by `test_a_backup_can_be_restored`."""
    assert command in commands((workplace.project / "docs/backup.md").read_text())


def writes_a_room(command: str, workplace: Workplace) -> None:
    assert_succeeds((*shlex.split(command), "--dry-run"), workplace.project)
    assert (workplace.project / "gospa/dev/new_room.py").exists()


def writes_the_lock(command: str, workplace: Workplace) -> None:
    """What it starts is seen by `tests/test_locks.py`."""
    assert_succeeds((*shlex.split(command), "--dry-run"), workplace.project)


def needs_containers(command: str, workplace: Workplace) -> None:
    """Not run, as the page says; `tests/test_deployment.py` reads the files."""
    assert command.startswith("docker compose ")
    page = (workplace.project / "docs/deployment.md").read_text()
    assert re.search(r"`compose.yaml` .* \*\*not built or started\*\*", page)


def runs_what_the_guide_adds(command: str, workplace: Workplace) -> None:
    """As `tests/test_guide.py` does."""
    *pytest, file = shlex.split(command)
    assert pytest == [".venv/bin/python", "-m", "pytest"]
    assert f"\n`{file}`:\n" in (workplace.project / "docs/guide.md").read_text()


def runs_the_users_tests(command: str, workplace: Workplace) -> None:
    arguments = shlex.split(command)[1:]
    found = run((sys.executable, *arguments, "--collect-only", "-q"), workplace.project)
    assert "tests/test_board.py::" in found.stdout
    assert "tests/gospa" not in found.stdout


def runs_a_script_of_the_page(command: str, workplace: Workplace) -> None:
    """With a development store of its own."""
    added_to(workplace.project)
    assert_succeeds((sys.executable, *shlex.split(command)[1:]), workplace.project)


def does_not_find_app(command: str, workplace: Workplace) -> None:
    added_to(workplace.project)
    failed = run((sys.executable, *shlex.split(command)[1:]), workplace.project)
    assert failed.stderr.endswith("No module named 'app'\n")
    assert "`No module named 'app'`" in pages_of(workplace.project)["docs/server.md"]


def removes_the_example(command: str, workplace: Workplace) -> None:
    """As `tests/test_bare.py` does."""
    assert_succeeds((*shlex.split(command), "--dry-run"), workplace.project)


def is_asked_of_the_inspector(command: str, workplace: Workplace) -> None:
    """What it sends, `tests/gospa/fleet/test_graceful.py` sends to a whole server."""
    sent = (workplace.project / "tests/gospa/fleet/test_graceful.py").read_text()
    action, option = shlex.split(command)[2:]
    assert f"/{action}" in sent
    assert option.removeprefix("--").replace("-", "_") in sent


def prints_what_the_changelog_says(command: str, _: Workplace) -> None:
    """As `tests/test_project.py` has the workflow do."""
    workflow = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    assert command.removesuffix("v<version>") in workflow


def is_sent_to_a_room(command: str, workplace: Workplace) -> None:
    """Run by `test_the_requests_with_curl_reach_a_room`."""
    assert command in commands((workplace.project / "docs/http.md").read_text())


# Whoever writes a new command says here how it is run.
COMMANDS: dict[Callable[[str, Workplace], None], tuple[str, ...]] = {
    generates: (f"cookiecutter {HERE}", f"cruft create {HERE}"),
    does_not_find_app: ("python scripts/close_polls.py",),
    explains_itself: (
        "python -m gospa",
        "python -m gospa check",
        "python -m gospa gone-rooms",
        "python -m gospa move-rooms <old>/ <new>/",
        "python -m gospa types",
        "python -m gospa revoke-sessions ann",
        "python -m gospa rooms",
        "python -m tests.gospa.fleet.capacity",
        "python -m tests.gospa.fuzz",
        "cruft create",
        "cruft link",
        "python3 -m venv .venv",
    ),
    is_asked_of_the_inspector: ("sanic inspect reload --zero-downtime",),
    is_measured_by_bench: (
        "python3 tasks.py bench",
        "python3 tasks.py bench --quick",
        "python3 tasks.py bench fan-out",
    ),
    is_a_task: (
        "python3 tasks.py demo",
        "python3 tasks.py lock",
        "python3 tasks.py test tests/test_hooks.py",
        "python3 tasks.py demo --state-backend redis --session-backend memory --workers 2 --fresh",
        "python3 tasks.py mutate",
        "python3 tasks.py snapshots",
        "python3 tasks.py test",
        "python3 tasks.py test --all",
        "python3 tasks.py test tests/test_oldest.py",
        "python3 tasks.py test tests/test_generated_checks.py -k 'state-redis and session-memory'",
        "python3 tasks.py test tests/test_in_place.py",
    ),
    is_in_a_sequence: (
        "cruft update --skip-apply-ask",
        f"cruft update --skip-apply-ask --variables-to-update '{CHANGED}'",
        "find . -name '*.rej' -not -path './.venv/*'",
        "git add --all",
        'git commit --message "Update from the template"',
        "git diff --check",
        "git diff HEAD",
        "make check test",
        "make lock",
    ),
    is_made: (
        "make chaos SECONDS=600 SEED=7",
        "make chaos",
        "make check",
        "make dev",
        "make format",
        "make install",
        "make test",
        "make test-all",
        "make types",
    ),
    knows_its_options: (
        ".venv/bin/python -m gospa --help",
        ".venv/bin/python -m gospa revoke-sessions --all",
        ".venv/bin/python -m tests.gospa.fuzz --inputs 1000000",
        f"{CHAOS} --hosts 2 --seconds 600 --seed 304",
        f"{CHAOS} --store cluster --seconds 600 --seed 303",
        f"{CHAOS} --store sentinel --seconds 600 --seed 302",
        f"{CHAOS} --store sentinel",
        f"{CHAOS} --seconds 600 --seed 312",
        (
            f"{CHAOS} --hosts 2 --seconds 180 --seed 11 --workers 2 --clients 24 --faults "
            "clients_slow clients_vanished connections_cut messages_delayed messages_doubled "
            "messages_dropped scripts_flushed store_full store_hung store_killed store_slow "
            "subscribers_killed subscribers_late worker_hung worker_killed"
        ),
        (
            f"{CHAOS} --seconds 120 --seed 0 --workers 2 --clients 12 --bound 8 --disable joins "
            "--faults subscribers_late"
        ),
    ),
    is_sent_to_a_room: (
        "curl http://127.0.0.1:8000/rooms/stars/home",
        "curl -X POST http://127.0.0.1:8000/rooms/stars/home/give",
        "curl -X POST -H 'Idempotency-Key: 7f3a' http://127.0.0.1:8000/rooms/stars/home/give",
    ),
    is_run_on_a_store: ('redis-cli -u "$REDIS_URL" --rdb backup.rdb', f"redis-cli {APPEND}"),
    names_its_parts: (
        "git diff HEAD~1 -- gospa/old.py",
        "git log --diff-filter=A --name-only -1",
    ),
    writes_a_room: ("make new-room NAME=quiz",),
    writes_the_lock: ("make lock install", "make lock ARGS=--upgrade"),
    needs_containers: ("docker compose up --build",),
    needs_network: (
        ".venv/bin/pip install --require-hashes --requirement requirements-dev.txt",
        "pip install cookiecutter",
        "pip install cruft",
        f"pipx run cookiecutter {HERE}",
        "pipx run cookiecutter .",
        "pipx run pre-commit install",
        "uv run sanic app --workers 1",
        "uv run sanic app --workers 4",
        "uvx cookiecutter .",
        "uvx pre-commit install",
    ),
    removes_the_example: ("make bare",),
    runs_a_script_of_the_page: (
        ".venv/bin/python -m gospa call poll/lunch vote yes=true",
        ".venv/bin/python -m scripts.close_polls",
        ".venv/bin/python -m scripts.notify 'The kitchen closes at noon.'",
        ".venv/bin/python -m scripts.notify 'Your order is ready.' ann",
    ),
    runs_the_users_tests: (".venv/bin/python -m pytest tests --ignore=tests/gospa",),
    runs_what_the_guide_adds: (".venv/bin/python -m pytest tests/test_questions.py",),
    serves: (".venv/bin/sanic app --workers 4",),
    serves_likewise: (
        ".venv/bin/sanic app --workers 1",
        "make run",
        "make run HOST=0.0.0.0",
        "sanic app",
        "sanic app --workers 1",
        "sanic app --workers 4",
    ),
    shows_changes: ("git diff tests/snapshots",),
    prints_what_the_changelog_says: ("python3 tasks.py notes v<version>",),
    works: ("make", "python -m tests.gospa.settings_reference", "python3 tasks.py --help"),
}


@pytest.mark.parametrize(
    ("command", "how"),
    [(command, how) for how, group in COMMANDS.items() for command in group],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_command(command: str, how: Callable[[str, Workplace], None], workplace: Workplace) -> None:
    how(command, workplace)


def test_every_command_is_tested(all_pages: list[str]) -> None:
    written = {command for page in all_pages for command in commands(page)}
    tested = {command for group in COMMANDS.values() for command in group}
    assert written - tested == set(), "list it in COMMANDS"
    assert tested - written == set(), "remove it from COMMANDS"


@pytest.mark.parametrize(
    "page",
    ["```sh\nmake rum\n```\n", "Then `make rum` it.\n", "    python -m rum.run\n"],
)
def test_command_that_is_not_tested_would_be_noticed(page: str) -> None:
    (command,) = commands(page)
    assert not any(command in group for group in COMMANDS.values())


@pytest.mark.usefixtures("own_git")
def test_the_page_on_updates_can_be_followed(template: Path, tmp_path: Path) -> None:
    repository = shutil.copytree(template, tmp_path / "template")
    shown = repository / APP.name / "client/index.html"
    newest = shown.read_text()
    for text, tag in (("older\n", "v1"), (newest, "v2")):
        shown.write_text(text)
        commit(repository, tag)
    create = ("cruft", "create", "--no-input", "--default-config", "--checkout", "v1")
    assert_succeeds((*create, str(repository)), tmp_path)
    project = tmp_path / "my_live_app"
    commit(project, "mine")
    page = (project / "docs/updating.md").read_text()
    for block in [snippet.text for snippet in snippets(page) if snippet.language == "sh"]:
        script = re.sub("^make ", "make --dry-run ", block, flags=re.MULTILINE)
        done = run(("sh", "-e", "-c", script), project)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "rej" not in done.stdout
    assert (project / "client/index.html").read_text() == newest
    assert (project / "gospa/backends/redis/state.py").exists()


# Code


def write_files(page: str, project: Path) -> list[Path]:
    """Put the Python of a page, and what else is a file, where the text says."""
    written = []
    for snippet in snippets(page):
        if snippet.language == "python":
            assert snippet.file, f"name the file before:\n{snippet.text}"
        elif not snippet.file.endswith(f".{snippet.language}"):
            continue
        path = project / snippet.file
        assert path not in written, f"{snippet.file} is there twice"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(snippet.text)
        written.append(path)
    return written


def name_of_room(path: Path) -> str:
    """The class of the room in a module."""
    (name,) = re.findall(r"^class (\w+)\(Room\[", path.read_text(), re.MULTILINE)
    return str(name)


def list_rooms(project: Path, rooms: Mapping[str, str]) -> None:
    """List rooms, by their modules, in `rooms/__init__.py`."""
    path = project / "rooms/__init__.py"
    lines = path.read_text().splitlines(keepends=True)
    lines += [f"from rooms.{module} import {name}\n" for module, name in rooms.items()]
    imports = sorted(line for line in lines if line.startswith("from "))
    path.write_text("".join([*lines[:2], *imports, "\n", *(x for x in lines if x[:5] == "ROOMS")]))
    text = path.read_text().replace("ROOMS = [", f"ROOMS = [{', '.join(rooms.values())}, ")
    path.write_text(text)


@pytest.fixture
def store() -> Iterator[str]:
    """A Redis of this test's own; yields its address."""
    program = next(filter(None, map(shutil.which, tasks.STORES)), None)
    if program is None:
        pytest.skip("there is no redis-server and no valkey-server")
    with tempfile.TemporaryDirectory() as short:  # a socket's path is limited
        options = ("--port", "0", "--unixsocket", f"{short}/redis.sock", "--save", "")
        with subprocess.Popen((program, *options), stdout=subprocess.DEVNULL) as server:
            address = f"unix://{short}/redis.sock"
            wait_for(lambda: has_started(address))
            yield address
            server.terminate()


def has_started(address: str) -> bool:
    with redis.Redis.from_url(address) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def list_views(project: Path, line: str, added: list[str]) -> None:
    """List blueprints in `views/__init__.py`: those of `line`, and of the added modules."""
    path = project / "views/__init__.py"
    modules = dict.fromkeys([*re.findall(r"(\w+)\.blueprint", line), *added])
    listed = ", ".join(f"{module}.blueprint" for module in modules)
    text = re.sub(r"(?m)^VIEWS = .*$", f"VIEWS = [{listed}]", path.read_text())
    imported = f"from views import {', '.join(sorted(modules))}"
    path.write_text(re.sub(r"from views import .*", imported, text))


def add_dependencies(project: Path, pages: Iterable[str]) -> None:
    """Change pyproject.toml as the sentences about dependencies say."""
    path = project / "pyproject.toml"
    text = path.read_text()
    for needed in re.findall(r"In `pyproject.toml`, add `(.*?)` to `dependencies`", "".join(pages)):
        text = text.replace("\ndependencies = [", f"\ndependencies = [\n    {needed},")
        wanted = Requirement(needed.strip('"'))
        assert wanted.specifier.contains(version(wanted.name))
        assert str(wanted) in map(str, map(Requirement, own_requirements()))
    path.write_text(text)
    tomllib.loads(text)
    if (installed := project / ".venv/.installed").exists():
        installed.touch()  # `make install` has nothing to do: the package is here


def own_requirements() -> list[str]:
    """What these tests need."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [*found["dependency-groups"]["dev"]]


def give_to_create_app(project: Path, pages: Iterable[str]) -> None:
    """Change app.py as the sentences about jobs and resources say."""
    path = project / "app.py"
    text, given = path.read_text(), dict[str, list[str]]()
    sentence = r"In `app.py`, add `(.*?)`, and pass `(\w+)=\[(.*?)\]` to `create_app`\."
    for line, option, value in re.findall(sentence, "".join(pages)):
        text = text.replace("\nfrom gospa import", f"\n{line}\nfrom gospa import")
        given.setdefault(option, []).append(value)
    assert given.keys() == {"jobs", "resources"}
    options = [f"{option}=[{', '.join(values)}]" for option, values in given.items()]
    path.write_text(text.replace("extras=EXTRAS", f"extras=EXTRAS, {', '.join(options)}"))


def added_to(project: Path) -> list[Path]:
    """Do to a project what README and the pages with snippets say."""
    pages = pages_of(project)
    added = [path for page in PAGES for path in write_files(pages[page], project)]
    assert len(set(added)) == len(added), "two pages have a file of the same name"
    rooms = [path for path in added if path.parent.name == "rooms"]
    list_rooms(project, {path.stem: name_of_room(path) for path in rooms})
    (line,) = re.findall(r"`(VIEWS = .*?)`", pages["docs/how-to.md"])
    list_views(project, line, [path.stem for path in added if path.parent.name == "views"])
    add_dependencies(project, [pages[page] for page in PAGES])
    give_to_create_app(project, [pages[page] for page in PAGES])
    changed = ("app.py", "rooms/__init__.py", "views/__init__.py")
    assert_succeeds(("ruff", "check", "--no-cache", "--select=I", "--fix", *changed), project)
    assert_succeeds(("ruff", "format", "--no-cache", *changed), project)
    return added


@pytest.mark.parametrize(
    "backends", [pytest.param(DEFAULT, marks=pytest.mark.slow), REDIS], ids=name_of
)
def test_what_the_pages_add_passes_tests_and_checks(
    backends: dict[str, str], matrix: Matrix, tmp_path: Path
) -> None:
    project = shutil.copytree(matrix[name_of(backends)].path, tmp_path / "project")
    tests = [path for path in added_to(project) if path.name.startswith("test_")]
    assert tests
    assert_succeeds(TYPES, project)
    for check in CHECKS.values():
        assert_succeeds(check, project)
    assert_succeeds((sys.executable, "-m", "pytest", "-q", *map(str, tests)), project)


def test_what_the_pages_add_works_in_a_browser_and_redis_holds_what_is_said(
    workplace: Workplace, store: str, chromium_path: str
) -> None:
    added_to(workplace.project)
    pages = pages_of(workplace.project)
    (script,) = [s.text for s in snippets(pages["README.md"]) if s.language == "js"]
    ours = template_pages()["README.md"]
    write_files(re.sub("(?s)```python.*?```", "", ours), workplace.project)
    with workplace.serving("make run WORKERS=2", {"REDIS_URL": store}) as address:
        assert what_a_browser_says(address, script, chromium_path) == ["1", "403", "204", "in"]
        with opened_browser(chromium_path) as browser:
            page = opened_page(browser, f"{address}/client/stars.html")
            expect(page.locator("span")).to_have_text("1")
            page.get_by_role("button").click()
            expect(page.locator("span")).to_have_text("2")
    with redis.Redis.from_url(store) as client:
        keys = [key.decode() for key in client.scan_iter()]
    table = re.findall(r"^\| `app:([^`]*)`", pages["docs/redis.md"], re.MULTILINE)
    names = [re.sub(r"<\w+>", ".+?", re.escape(key)) for key in table]
    patterns = [f"my_live_app:{name}" for name in names]
    assert [key for key in keys if not any(re.fullmatch(p, key) for p in patterns)] == []
    unused = [p for p in patterns if not any(re.fullmatch(p, key) for key in keys)]
    seldom = ("lock", "own:", "alarms:")
    assert [p for p in unused if not any(word in p for word in seldom)] == []


def test_a_script_beside_the_application_needs_the_address_of_its_store(
    workplace: Workplace,
) -> None:
    added_to(workplace.project)
    script = (sys.executable, "-m", "scripts.close_polls")
    with workplace.serving("sanic app", {}):
        refused = run(script, workplace.project)
        (url,) = re.findall(r"SettingsError: .*set REDIS_URL='(unix://.*)'\n\Z", refused.stderr)
        works(f"REDIS_URL='{url}' {shlex.join(script)}", workplace)


def test_the_lines_for_cron_and_systemd_run_the_script(workplace: Workplace, store: str) -> None:
    added_to(workplace.project)
    page = pages_of(workplace.project)["docs/server.md"]
    (line,) = re.findall(r"^    5 0 \* \* \* (.*)$", page, re.MULTILINE)
    settings = workplace.project / "app.env"
    settings.write_text(f"REDIS_URL={store}\n")
    places = {"/srv/app": str(workplace.project), "/etc/app.env": str(settings)}
    for place, here in {**places, ".venv/bin/python": sys.executable}.items():
        assert place in line
        line = line.replace(place, here)
    works(line, workplace)
    assert not (workplace.project / ".devstore").exists()
    unit = (workplace.project / "deploy/app.service").read_text()
    for setting in ("DynamicUser=", "WorkingDirectory=", "EnvironmentFile="):
        (given,) = re.findall(rf"^    ({setting}.*)$", page, re.MULTILINE)
        assert f"\n{given}\n" in unit
    (start,) = re.findall(r"^    ExecStart=/srv/app/(.*)$", page, re.MULTILINE)
    assert start in COMMANDS[runs_a_script_of_the_page]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_requests_with_curl_reach_a_room(workplace: Workplace) -> None:
    """As docs/http.md says, in a project with the room of its README."""
    project, pages = workplace.project, pages_of(workplace.project)
    write_files(pages["README.md"], project)
    list_rooms(project, {"stars": "Stars"})
    app = (project / "app.py").read_text()
    app = app.replace("import json_logs", "import http, json_logs")
    (project / "app.py").write_text(app.replace("EXTRAS = [", "EXTRAS = [\n    http,", 1))
    with workplace.serving("sanic app --workers 1", {}) as address:
        answers = [
            json.loads(
                run(("sh", "-c", command.replace("http://127.0.0.1:8000", address)), project).stdout
            )
            for command in (*commands(pages["docs/http.md"]), *COMMANDS[is_sent_to_a_room])
            if command.startswith("curl ")
        ]
    assert answers == [{"count": 0}, None, None, {"count": 2}, None, None]


def test_a_backup_can_be_restored(workplace: Workplace) -> None:
    """As docs/backup.md says, by its commands."""
    program = next(filter(None, map(shutil.which, tasks.STORES)), None)
    if program is None or not shutil.which("redis-cli"):
        pytest.skip("there is no Redis")
    page = pages_of(workplace.project)["docs/backup.md"]
    backup = next(command for command in commands(page) if "--rdb" in command)
    restored = workplace.project / "restored"
    restored.mkdir()
    with serving_store(program, workplace.project) as (url, client):
        client.set("a", "1")
        works(f"export REDIS_URL={url}; {backup}", workplace)
    (workplace.project / "backup.rdb").rename(restored / "dump.rdb")
    with serving_store(program, restored) as (url, client):
        assert client.get("a") == b"1"
        works(f"redis-cli -u {url} {APPEND}", workplace)
        wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        assert list(restored.glob("appendonly*"))


@contextmanager
def serving_store(program: str, folder: Path) -> Iterator[tuple[str, "redis.Redis"]]:
    """A Redis that reads and writes in a folder; yields its address and a client."""
    url = f"redis://127.0.0.1:{(port := free_port())}"
    options = ("--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "no")
    with (
        subprocess.Popen((program, *options), stdout=subprocess.DEVNULL) as server,
        redis.Redis.from_url(url) as client,
    ):
        try:
            wait_for(lambda: has_started(url))
            yield url, client
        finally:
            server.terminate()


def test_the_client_greets_the_club(workplace: Workplace, store: str) -> None:
    added_to(workplace.project)
    script = workplace.project / "scripts/greet.py"
    with workplace.serving("sanic app", {"REDIS_URL": store}) as address:
        text = script.read_text().replace("ws://127.0.0.1:8000", address.replace("http", "ws"))
        script.write_text(text)
        user = {"user": "ann", "password": "example"}
        cookie = httpx.post(f"{address}/login", data=user).headers["Set-Cookie"].partition(";")[0]
        with subprocess.Popen(
            (sys.executable, "-u", "-m", "scripts.greet"),
            cwd=workplace.project,
            env={**os.environ, "COOKIE": cookie},
            stdout=subprocess.PIPE,
            text=True,
        ) as greeter:
            assert greeter.stdout
            assert greeter.stdout.readline() == "ann: hello\n"
            greeter.terminate()


def test_notices_reach_open_pages(workplace: Workplace, store: str, chromium_path: str) -> None:
    added_to(workplace.project)
    pages = pages_of(workplace.project)
    (script,) = [s.text for s in snippets(pages["docs/server.md"]) if s.language == "js"]
    address_of_store = {"REDIS_URL": store}
    with (
        workplace.serving("make run WORKERS=2", address_of_store) as address,
        opened_browser(chromium_path) as browser,
    ):
        visitor, shown = opened_page(browser, address), list[str]()
        visitor.on("console", lambda line: shown.append(line.text))
        visitor.add_script_tag(content=script, type="module")
        page, heard = opened_page(browser, address), list[str]()
        page.on("console", lambda line: heard.append(line.text))
        expect_online(page)  # its first session would take the place of one that begins meanwhile
        assert page.evaluate(ENTER, {"user": "ann", "password": "example"}) == "204"
        page.add_script_tag(content=script, type="module")

        def notified(*arguments: str) -> bool:
            notify = shlex.join((sys.executable, "-m", "scripts.notify", *arguments))
            works(f"REDIS_URL='{store}' {notify}", workplace)
            page.wait_for_timeout(200)
            return arguments[0] in heard

        wait_for(lambda: notified("to everyone"))
        wait_for(lambda: notified("to ann", "ann"))
        assert not notified("to bob", "bob")
        assert set(shown) == {"to everyone"}


ENTER = """
async ({ user, password }) => {
  const body = new URLSearchParams({ user, password });
  return String((await fetch('/login', { method: 'POST', body })).status);
}
"""
JOIN = """
async () => {
  const { connect } = await import('/gospa/gospa.js');
  const club = connect().room('club');
  await club.call('say', { text: 'hello' });
  return 'in';
}
"""


def what_a_browser_says(address: str, script: str, chromium_path: str) -> list[str]:
    """Run the README's script, then log in as the how-to has it, and enter."""
    with opened_browser(chromium_path) as browser:
        page = opened_page(browser, address)
        with page.expect_console_message(lambda line: line.text == "1") as liked:
            page.add_script_tag(content=script, type="module")
        wrong = page.evaluate(ENTER, {"user": "ann", "password": "wrong"})
        right = page.evaluate(ENTER, {"user": "ann", "password": "example"})
        return [liked.value.text, wrong, right, page.evaluate(JOIN)]


def test_the_pages_of_the_recipes_work(
    workplace: Workplace, store: str, chromium_path: str
) -> None:
    added_to(workplace.project)
    with (
        workplace.serving("make run WORKERS=2", {"REDIS_URL": store}) as address,
        opened_browser(chromium_path) as browser,
    ):
        ann, bob = (chatting(browser, address, user) for user in ("ann", "bob"))
        expect(ann.locator("#here")).to_have_text(re.compile("ann.*bob|bob.*ann"))
        ann.fill("[name=text]", "Is <b>tea</b>")
        expect(bob.locator("#typing")).to_have_text("ann is typing")
        ann.press("[name=text]", "Enter")
        for page in (ann, bob):
            expect(page.locator("#lines li")).to_have_text("ann: Is <b>tea</b>")
        expect(bob.locator("#typing")).to_have_text("")

        page = opened_page(browser, f"{address}/results/one%20%26%20two")
        expect(page.locator("#yes")).to_have_text("0")
        call = (sys.executable, "-m", "gospa", "call", "poll/one & two", "vote", "yes=true")
        works(f"REDIS_URL='{store}' {shlex.join(call)}", workplace)
        expect(page.locator("#yes")).to_have_text("1")


def chatting(browser: Browser, address: str, user: str) -> Page:
    """The page of the chat, as a user."""
    context = browser.new_context()
    context.request.post(f"{address}/account/log-in", form={"name": user})
    page = context.new_page()
    page.goto(f"{address}/client/chat.html")
    return page


@contextmanager
def opened_browser(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium_path, args=options)
        yield browser
        browser.close()


def opened_page(browser: Browser, address: str) -> Page:
    """Open a page in which scripts may be added."""
    page = browser.new_context(bypass_csp=True).new_page()
    page.set_default_timeout(TIMEOUT * 1000)
    page.goto(address)
    return page


@pytest.mark.parametrize("language", ["toml", "yaml", "json"])
def test_data_can_be_read(language: str, all_pages: list[str]) -> None:
    readers: dict[str, Callable[[str], Any]] = {
        "toml": tomllib.loads,
        "yaml": yaml.safe_load,
        "json": json.loads,
    }
    for page in all_pages:
        for snippet in snippets(page):
            if snippet.language == language:
                assert readers[language](snippet.text)


def test_every_page_is_in_the_index_once_and_is_there(matrix: Matrix) -> None:
    for baked in matrix.values():
        names = {path.name for path in (baked.path / "docs").glob("*.md")} - {"README.md"}
        index = (baked.path / "docs/README.md").read_text()
        linked = re.findall(r"\[([\w-]+\.md)\]\(([\w-]+\.md)\)", index)
        assert all(text == target for text, target in linked)
        assert sorted(target for _, target in linked) == sorted(names)


def test_every_snippet_is_of_a_kind_that_is_tested(all_pages: list[str]) -> None:
    found = {snippet.language for page in all_pages for snippet in snippets(page)}
    assert found <= {"sh", "python", "html", "js", "toml", "yaml", "json"}


def test_python_and_scripts_are_only_on_pages_whose_test_uses_them(
    matrix: Matrix,
) -> None:
    pages = {**template_pages(), **pages_of(matrix[name_of(REDIS)].path)}
    guide = "docs/guide.md"  # tests/test_guide.py
    recipes = "docs/recipes.md"
    used_in = {
        "html": [guide, recipes],
        # docs/client.md: tests/test_client_packages.py
        "js": ["README.md", guide, recipes, "docs/server.md", "docs/client.md"],
        "python": [guide, "docs/log-in.md", *PAGES],  # tests/test_log_in_recipe.py
    }
    for language, used in used_in.items():
        having = [
            n for n, page in pages.items() if any(s.language == language for s in snippets(page))
        ]
        assert sorted(having) == sorted(used)


# Facts

# What a row of the table of conflicts says that an action has read: keys, and ids of collections.
EXPECTED: dict[str, tuple[list[str], list[str]]] = {
    "nobody": ([], []),
    "nobody: the last writer wins": ([], []),
    "writers of that field": (["count"], []),
    "writers of that item": (["notes/{id}"], []),
    "those who add or remove items": ([], ["notes"]),
    "those who add or remove items, and writers of each item": (["notes/{id}"], ["notes"]),
}
ONE, NEW = "00000000001aaaaaa", "00000000002aaaaaa"
WHAT_IS_READ = """
import json, sys
from msgspec import Struct
from gospa import Items, State
from gospa.state import values_of
from gospa.store.codec import encode
from gospa.store.content import Content
from gospa.store.draft import Draft

class Note(Struct):
    text: str = ""

class Board(State):
    count: int = 0
    notes: Items[Note] = Items()

one, new, *lines = sys.argv[1:]
for line in lines:
    stored = {"count": encode(1), f"notes/{one}": encode({"text": ""})}
    state = Board.of(Draft(Content(stored, {})))
    exec(line, {"state": state, "id": one, "new": new, "note": Note("new")})
    values_of(state).finish()
    edits = values_of(state).draft.edits()
    print(json.dumps([line, [sorted(edits.read), sorted(edits.epochs)]]))
"""


def test_the_table_of_conflicts_is_true() -> None:
    page = (APP / "docs/rooms.md").read_text(encoding="utf-8")
    _, _, table = page.partition("| in an action | conflicts with |\n|---|---|\n")
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", table.partition("\n\n")[0], re.MULTILINE)
    told = {line: conflicts for lines, conflicts in rows for line in re.findall("`(.*?)`", lines)}
    assert set(told.values()) == EXPECTED.keys()
    done = run((sys.executable, "-c", WHAT_IS_READ, ONE, NEW, *told), APP)
    assert done.returncode == 0, done.stderr
    for line, read in map(json.loads, done.stdout.splitlines()):
        item = NEW if line.endswith("id=new)") else ONE
        keys, collections = EXPECTED[told.pop(line)]
        assert read == [[key.format(id=item) for key in keys], collections], line
    assert not told


def test_the_templates_readme_shows_the_room_of_a_projects_readme(matrix: Matrix) -> None:
    projects = pages_of(matrix[name_of(DEFAULT)].path)
    shown, own = (
        [snippet.text for snippet in snippets(page) if snippet.language == "python"]
        for page in (template_pages()["README.md"], projects["README.md"])
    )
    assert shown == own


def test_readme_names_each_question_and_choice() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", template_pages()["README.md"], re.MULTILINE
    )
    asked = [name for name in OPTIONS if not name.startswith("_")]
    assert [name for name, *_ in rows][: len(asked)] == asked
    told = {name: default + explained for name, default, explained in rows}
    for name, values in CHOICES.items():
        assert [value for value in values if f"`{value}`" not in told[name]] == []


def test_each_promise_is_held_by_a_test_that_exists() -> None:
    pages = [APP / "docs/consistency.md", APP / "docs/deployment.md"]
    page = "".join(path.read_text(encoding="utf-8") for path in pages)
    named = set(re.findall(r"`(test_\w+)`", page))
    tests = "".join(path.read_text(encoding="utf-8") for path in APP.rglob("tests/**/test_*.py"))
    assert len(named) > 10
    assert [name for name in sorted(named) if f"def {name}(" not in tests] == []


def test_the_table_of_what_runs_where_is_true() -> None:
    page = template_pages()["docs/testing.md"]
    row = r"^\| .*? \| `(tests/[\w/]*test_\w+\.py)` \| (.*?) \| .*? \|"
    by_default = dict(re.findall(row, page, re.MULTILINE))
    left_out = {file for file, runs in by_default.items() if runs == "no"}
    own = {f"tests/{path.name}": path.read_text() for path in (ROOT / "tests").glob("test_*.py")}
    mark = re.compile(r"^(?:@|pytestmark = \[?)pytest\.mark\.slow", re.MULTILINE)
    slow = {file for file, text in own.items() if mark.search(text)}
    assert left_out == {*LONG, *slow} - {"tests/test_generated_checks.py"}
    assert [file for file in own if f"`{file}`" not in page] == []


def test_links_lead_somewhere(matrix: Matrix) -> None:
    roots = {ROOT: template_pages()}
    roots |= {baked.path: pages_of(baked.path) for baked in matrix.values()}
    for root, pages in roots.items():
        for name, page in pages.items():
            for link in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)[^)]*\)", page):
                if "://" not in link:
                    assert ((root / name).parent / link).exists(), f"{name}: {link}"


def test_pages_that_are_named_exist(matrix: Matrix) -> None:
    for baked in matrix.values():
        for name, page in pages_of(baked.path).items():
            for named in re.findall(r"`(docs/[\w-]+\.md)`", page):
                assert (baked.path / named).exists(), f"{name}: {named}"
