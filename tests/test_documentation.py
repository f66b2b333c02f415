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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from playwright.sync_api import Page, sync_playwright

import tasks
from tests.baking import (
    APP,
    CHECKS,
    CHOICES,
    DEFAULT,
    OPTIONS,
    ROOT,
    Matrix,
    assert_succeeds,
    commit,
    contents,
    name_of,
    run,
)
from tests.browsing import TIMEOUT, answers, free_port, wait_for
from tests.snippets import commands, snippets
from tests.test_in_place import LONG

HERE = "PATH_OR_URL_OF_THIS_REPOSITORY"
REDIS = {**DEFAULT, "state_backend": "redis", "session_backend": "redis"}
CHANGED = '{"state_backend": "redis", "session_backend": "redis"}'
CHAOS = "python -m tests.gospa.chaos.run"
PAGES = ("README.md", "docs/how-to.md", "docs/server.md")  # whose Python goes into one project


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
                wait_for(lambda: answers(address))
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
    arguments = shlex.split(command, comments=True)[2:]
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
    assert command.startswith(("pip install ", "pipx run ", "uvx ", ".venv/bin/pip install "))
    project = tomllib.loads((workplace.project / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"\.\[(\w+)\]", command):
        assert extra in project["optional-dependencies"]


def serves_likewise(command: str, _: Workplace) -> None:
    """As the one that `serves`, or as the test with a browser."""
    assert re.fullmatch(r"make run|(\.venv/bin/)?sanic app( --workers [14])?", command)


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
    arguments = shlex.split(command, comments=True)[3:]
    shown = run((sys.executable, "-m", "bench", "--help"), ROOT)
    assert shown.returncode == 0, shown.stderr
    assert [argument for argument in arguments if argument not in shown.stdout] == []


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


# Whoever writes a new command says here how it is run.
COMMANDS: dict[Callable[[str, Workplace], None], tuple[str, ...]] = {
    generates: (f"cookiecutter {HERE}", f"cruft create {HERE}"),
    does_not_find_app: ("python scripts/close_polls.py",),
    explains_itself: (
        "python -m gospa",
        "python -m tests.gospa.fleet.capacity",
        "python -m tests.gospa.fuzz",
        "cruft create",
        "cruft link",
        "python3 -m venv .venv",
    ),
    is_asked_of_the_inspector: ("sanic inspect reload --zero-downtime",),
    is_measured_by_bench: (
        "python3 tasks.py bench            # all measures, a quarter of an hour",
        "python3 tasks.py bench --quick    # one short round, two minutes",
        "python3 tasks.py bench fan-out    # one of them; --help names all",
    ),
    is_a_task: (
        "python3 tasks.py demo",
        "python3 tasks.py demo --state-backend redis --session-backend memory --workers 2 --fresh",
        "python3 tasks.py mutate",
        "python3 tasks.py snapshots",
        "python3 tasks.py test",
        "python3 tasks.py test --all",
        "python3 tasks.py test --all    # also what takes minutes each",
        "python3 tasks.py test          # what a change needs: about ten minutes on two cores",
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
    ),
    knows_its_options: (
        ".venv/bin/python -m gospa --help",
        ".venv/bin/python -m tests.gospa.fuzz --inputs 1000000",
        f"{CHAOS} --store cluster --seconds 180 --seed 7 --workers 2 --clients 16",
        f"{CHAOS} --store sentinel --seconds 180 --seed 7 --workers 2 --clients 16",
        f"{CHAOS} --store sentinel",
        f"{CHAOS} --seconds 600 --seed 7 --workers 4 --clients 40",
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
    needs_containers: ("docker compose up --build",),
    needs_network: (
        ".venv/bin/pip install --editable '.[dev]'",
        "pip install cookiecutter",
        "pip install cruft",
        f"pipx run cookiecutter {HERE}",
        "pipx run cookiecutter .",
        "uvx cookiecutter .",
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
        "sanic app",
        "sanic app --workers 1",
        "sanic app --workers 4",
    ),
    shows_changes: ("git diff tests/snapshots",),
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
        script = block.replace("make check test", "make --dry-run check test")
        done = run(("sh", "-e", "-c", script), project)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "rej" not in done.stdout
    assert (project / "client/index.html").read_text() == newest
    assert (project / "gospa/backends/redis/state.py").exists()


# Code


def write_python(page: str, project: Path) -> list[Path]:
    """Put the Python of a page where the text says."""
    written = []
    for snippet in snippets(page):
        if snippet.language != "python":
            continue
        assert snippet.file, f"name the file before:\n{snippet.text}"
        path = project / snippet.file
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if "at the end of `" in snippet.before else ""
        path.write_text(before + snippet.text)
        written.append(path)
    return written


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


def give_to_create_app(project: Path, page: str) -> None:
    """Change app.py as the sentences about jobs and resources say."""
    path = project / "app.py"
    text = path.read_text()
    changes = re.findall(r"In `app.py`, add `(.*?)`, and pass `(.*?)` to `create_app`\.", page)
    assert [option.partition("=")[0] for _, option in changes] == ["jobs", "resources"]
    for line, option in changes:
        text = text.replace("\nfrom gospa import", f"\n{line}\nfrom gospa import")
        text = text.replace("extras=EXTRAS", f"extras=EXTRAS, {option}")
    path.write_text(text)


def added_to(project: Path) -> list[Path]:
    """Do to a project what README and the pages with snippets say."""
    pages = pages_of(project)
    added = [path for page in PAGES for path in write_python(pages[page], project)]
    rooms = [path.stem for path in added if path.parent.name == "rooms"]
    list_rooms(project, {module: module.capitalize() for module in rooms})
    (line,) = re.findall(r"`(VIEWS = .*?)`", pages["docs/how-to.md"])
    list_views(project, line, [path.stem for path in added if path.parent.name == "views"])
    give_to_create_app(project, pages["docs/server.md"])
    assert_succeeds(("ruff", "check", "--no-cache", "--select=I", "--fix", "app.py"), project)
    assert_succeeds(("ruff", "format", "--no-cache", "app.py", "views/__init__.py"), project)
    return added


@pytest.mark.parametrize("backends", [DEFAULT, REDIS], ids=name_of)
def test_what_the_pages_add_passes_tests_and_checks(
    backends: dict[str, str], matrix: Matrix, tmp_path: Path
) -> None:
    project = shutil.copytree(matrix[name_of(backends)].path, tmp_path / "project")
    tests = [path for path in added_to(project) if path.name.startswith("test_")]
    assert tests
    for check in CHECKS.values():
        assert_succeeds(check, project)
    assert_succeeds((sys.executable, "-m", "pytest", "-q", *map(str, tests)), project)


def test_what_the_pages_add_works_in_a_browser_and_redis_holds_what_is_said(
    workplace: Workplace, store: str, chromium_path: str
) -> None:
    added_to(workplace.project)
    pages = pages_of(workplace.project)
    (script,) = [s.text for s in snippets(pages["README.md"]) if s.language == "js"]
    with workplace.serving("make run WORKERS=2", {"REDIS_URL": store}) as address:
        assert what_a_browser_says(address, script, chromium_path) == ["1 0", "403", "204", "in"]
    with redis.Redis.from_url(store) as client:
        keys = [key.decode() for key in client.scan_iter()]
    table = re.findall(r"^\| `(app:[^`]*)`", pages["docs/redis.md"], re.MULTILINE)
    patterns = [re.sub(r"<\w+>", ".+?", re.escape(key)) for key in table]
    assert [key for key in keys if not any(re.fullmatch(p, key) for p in patterns)] == []
    unused = [p for p in patterns if not any(re.fullmatch(p, key) for key in keys)]
    assert all("lock" in pattern or "own:" in pattern for pattern in unused)


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
        opened_page(address, chromium_path) as page,
    ):
        heard: list[str] = []
        page.on("console", lambda line: heard.append(line.text))
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
    with opened_page(address, chromium_path) as page:
        with page.expect_console_message(lambda line: line.text == "1 0") as voted:
            page.add_script_tag(content=script, type="module")
        wrong = page.evaluate(ENTER, {"user": "ann", "password": "wrong"})
        right = page.evaluate(ENTER, {"user": "ann", "password": "example"})
        return [voted.value.text, wrong, right, page.evaluate(JOIN)]


@contextmanager
def opened_page(address: str, chromium_path: str) -> Iterator[Page]:
    """Open a page in which scripts may be added."""
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium_path, args=options)
        page = browser.new_context(bypass_csp=True).new_page()
        page.set_default_timeout(TIMEOUT * 1000)
        page.goto(address)
        yield page
        browser.close()


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


def test_every_snippet_is_of_a_kind_that_is_tested(all_pages: list[str]) -> None:
    found = {snippet.language for page in all_pages for snippet in snippets(page)}
    assert found <= {"sh", "python", "html", "js", "toml", "yaml", "json"}


def test_python_and_scripts_are_only_on_pages_whose_test_uses_them(
    matrix: Matrix,
) -> None:
    pages = {**template_pages(), **pages_of(matrix[name_of(REDIS)].path)}
    guide = "docs/guide.md"  # tests/test_guide.py
    used_in = {
        "html": [guide],
        "js": ["README.md", guide, "docs/server.md"],
        "python": ["README.md", guide, *PAGES[1:]],
    }
    for language, used in used_in.items():
        having = [
            n for n, page in pages.items() if any(s.language == language for s in snippets(page))
        ]
        assert having == used


# Facts


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
    page = (APP / "docs/consistency.md").read_text(encoding="utf-8")
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
