"""Serve the demo, run the tests, or measure; the first two need only Python."""

import argparse
import contextlib
import fcntl
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this may have an older one
    sys.exit(f"tasks.py needs Python 3.11 or newer, and this is {sys.version.split()[0]}")

# Older Pythons, which exit above, could not parse these.
import tomllib

import locks
from environments import TaskError, install, requirements, run, say

ROOT = Path(__file__).resolve().parent
APP = ROOT / "{{cookiecutter.project_slug}}"
VENV = ROOT / ".venv"
# The locks of the demo and of the tests.
LOCKS = {name: ROOT / f"requirements{name}.txt" for name in ("", "-dev")}
DEMO_SLUG = "live_board"
HOST = "127.0.0.1"
STOP_TIMEOUT = 20  # seconds
BROWSERS = (
    "chromium-headless-shell",  # the same engine without windows: a page takes half the CPU time
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
STORES = ("redis-server", "valkey-server")
SNAPSHOTS = (
    *("tests/test_matrix.py", "tests/test_bare.py::test_it_knows_the_example_as_it_is"),
    "tests/test_figures.py::test_the_table_of_lines_is_true",
    *("--write-snapshots", "--quiet"),
)
# tests/conftest.py sets the number of processes, and tests/groups.py what each of them runs.
PARALLEL = (
    *("-p", "tests.left_out"),
    *("--numprocesses=auto", "--maxprocesses=4", "--no-loadscope-reorder"),
)
# The tasks that run pytest, and their arguments.
TESTS = {"test": PARALLEL, "snapshots": SNAPSHOTS}
NEED_BROWSER = (
    "tests/test_browser*.py, test_client*.py, test_msgpack.py, and the guide's and README's"
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the task of the command line; returns the exit code."""
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.task == "demo":
        parser.error(f"unknown: {' '.join(rest)}")
    tasks = {
        "demo": lambda: demo(options),
        "bench": lambda: bench(rest),
        "mutate": lambda: mutate(rest),
        "lock": lambda: lock(rest),
        "notes": lambda: notes(options.tag),
        "snapshots": lambda: test([*TESTS["snapshots"], *rest]),
        "test": lambda: test([*TESTS["test"], *(["--all"] if options.all else []), *rest]),
    }
    try:
        return tasks[options.task]()
    except TaskError as error:
        print(f"tasks.py: {error}", file=sys.stderr)
        return 1


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="tasks.py", description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    to_test = tasks.add_parser(
        "test",
        help="install everything and run the tests; further arguments go to pytest",
        usage="tasks.py test [-h] [--all] [PYTEST ARGUMENT ...]",
    )
    to_test.add_argument("--all", action="store_true", help="also run tests that take minutes each")
    tasks.add_parser(
        "bench",
        help="measure side by side with other servers; see `tasks.py bench --help`",
        add_help=False,
    )
    tasks.add_parser(
        "snapshots",
        help="update tests/snapshots: how each choice changes a project; review them with git",
        usage="tasks.py snapshots [-h]",
    )
    tasks.add_parser(
        "mutate",
        help="make small changes to the hooks and the pure core, and check that tests detect them",
        usage="tasks.py mutate [-h] [MODULE ...]",
    )
    tasks.add_parser(
        "lock",
        help="pin versions and hashes of all packages; with --upgrade, the newest ones",
        usage="tasks.py lock [-h] [--upgrade]",
    )
    to_notes = tasks.add_parser("notes", help="print the changelog's section of a release")
    to_notes.add_argument("tag", metavar="TAG", help="for example v1.0.0")
    to_demo = tasks.add_parser("demo", help="generate the demo application and serve it")
    to_demo.add_argument("--port", type=port_number, default=8000, help="default: 8000")
    to_demo.add_argument(
        "--workers", type=worker_count, help="processes (default: 4, or 1 with a memory backend)"
    )
    to_demo.add_argument(
        "--output", type=Path, default="demo", metavar="DIR", help="generate here (default: demo)"
    )
    for option in ("--state-backend", "--session-backend"):
        to_demo.add_argument(option, choices=("memory", "redis"), help="default: redis")
    to_demo.add_argument(
        "--fresh", action="store_true", help="delete the existing demo and generate it again"
    )
    return parser


def port_number(text: str) -> int:
    """Read a TCP port."""
    port = int(text)
    if not 0 < port < 2**16:
        raise argparse.ArgumentTypeError(f"{port} is not a port: use 1 to 65535")
    return port


def worker_count(text: str) -> int:
    """Read a number of processes."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} workers cannot serve: use 1 or more")
    return count


# The tests


def test(arguments: Sequence[str]) -> int:
    """Install the packages for the tests, and replace this process with pytest."""
    say_what_is_missing()
    mutation = requirements(ROOT / "pyproject.toml", "mutation") if "--all" in arguments else ()
    return become(install(VENV, LOCKS["-dev"], frozenset(mutation)), "pytest", *arguments)


def say_what_is_missing() -> None:
    """Print first which tests will be skipped, and how to install what they need."""
    if find_browser() is None and not fetched_browsers():
        fetch = ".venv/bin/python -m playwright install chromium"
        say_left_out("Chromium and no Chrome", NEED_BROWSER, *installers("chromium"), fetch)
    for program, tests in {"nginx": "behind nginx", "npm": "of the client's types"}.items():
        if not (shutil.which(program) or shutil.which(program, path="/usr/sbin")):
            say_left_out(program, f"the tests {tests}", *installers(program))


def say_left_out(missing: str, tests: str, *remedies: str) -> None:
    """Print which tests are skipped, why, and the remedy."""
    say(f"There is no {missing}. Left out: {tests}. To run them: {', or '.join(remedies)}")


def installers(package: str) -> list[str]:
    """How to install a package, by the package manager of this machine or by each."""
    commands = {manager: f"{manager} install {package}" for manager in ("apt", "dnf", "brew")}
    here = [command for manager, command in commands.items() if shutil.which(manager)]
    return here or [*commands.values()]


def fetched_browsers() -> list[Path]:
    """The Chromium versions that Playwright has downloaded."""
    places = (Path.home() / ".cache/ms-playwright", Path.home() / "Library/Caches/ms-playwright")
    own = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    return [
        found for place in ((Path(own),) if own else places) for found in place.glob("chromium-*")
    ]


def mutate(arguments: Sequence[str]) -> int:
    """Install the tests' packages and Cosmic Ray, and replace this process with its driver."""
    mutation = frozenset(requirements(ROOT / "pyproject.toml", "mutation"))
    return become(install(VENV, LOCKS["-dev"], mutation), "tests.mutation", *arguments)


def become(python: Path, module: str, *arguments: str) -> int:
    """Replace this process with a module of that environment."""
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execv(python, [str(python), "-m", module, *arguments])  # noqa: S606 - signals reach it


def find_browser() -> str | None:
    """The path of an installed Chromium or Chrome."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def lock(arguments: Sequence[str]) -> int:
    """Write the locks of the template and of generated projects."""
    locks.write(ROOT, APP, arguments)
    return 0


# Releases


def notes(tag: str) -> int:
    """Print the changelog's section of a release, if the version is that of the template."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["version"]
    if tag != f"v{version}":
        raise TaskError(f"the tag {tag} is not that of version {version} in pyproject.toml")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    section = re.search(heading, changelog, re.MULTILINE | re.DOTALL)
    if section is None:
        raise TaskError(f"CHANGELOG.md has no section '## [{version}] - <date>'")
    print(section[1].strip())
    return 0


# The measurements


def bench(arguments: Sequence[str]) -> int:
    """Replace this process with `python3 -m bench`."""
    os.chdir(ROOT)
    return os.execv(sys.executable, [sys.executable, "-m", "bench", *arguments])  # noqa: S606


# The demo


def demo(options: argparse.Namespace) -> int:
    """Generate and serve the demo; returns the server's exit code."""
    if is_taken(options.port):
        other = f"python3 tasks.py demo --port {options.port % 65535 + 1}"
        raise TaskError(f"port {options.port} is taken. Stop what uses it, or: {other}")
    project = (options.output / DEMO_SLUG).resolve()
    if options.fresh and project.exists():
        remove(project)
    if (project / "app.py").is_file():
        check_backends(project, options)
        say(f"Using the application in {project} as it is; --fresh generates it again.")
    else:
        generate(project, options)
    # Its owner may have added packages to those of the template, which are in the lock.
    added = requirements(project / "pyproject.toml") - requirements(APP / "pyproject.toml")
    install(VENV, LOCKS[""], frozenset(added))
    return serve(project, options)


def remove(project: Path) -> None:
    """Remove an application that was generated earlier, and nothing else."""
    if not (project / "gospa/app.py").is_file():
        raise TaskError(f"{project} is not one of our demos. Remove it yourself, or use --output")
    lock = project / ".devstore/lock"
    if lock.is_file():
        with lock.open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"the application in {project} is running. Stop it first"
                raise TaskError(message) from None
    shutil.rmtree(project)


def check_backends(project: Path, options: argparse.Namespace) -> None:
    """Raise TaskError if the existing application has other backends than requested."""
    wanted = {"state": options.state_backend, "storage": options.session_backend}
    for role, backend in wanted.items():
        if backend and backend != backend_of(project, role):
            raise TaskError(
                f"the application in {project} was made with another backend for its {role}. "
                "Add --fresh to generate it again"
            )


def backend_of(project: Path, role: str) -> str:
    """The backend that an application's app.py names for a role."""
    source = (project / "app.py").read_text(encoding="utf-8")
    named = re.search(rf"^from gospa\.backends\.(\w+)\.{role} import\b", source, re.MULTILINE)
    return named[1] if named else ""


def is_taken(port: int) -> bool:
    """Whether a server could not listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def generate(project: Path, options: argparse.Namespace) -> None:
    """Generate the project from the template, as a user would: completely, or not at all."""
    if project.exists():
        raise TaskError(f"{project} is not one of our demos. Remove it yourself, or use --output")
    python = install(VENV, LOCKS[""])
    with folder_beside(project) as aside:
        run(
            "cookiecutter could not generate the application: see above",
            *(python, "-m", "cookiecutter", ROOT, "--no-input", "--default-config"),
            *("--output-dir", aside),
            *("project_name=Live Board", f"project_slug={project.name}"),
            f"state_backend={options.state_backend or 'redis'}",
            f"session_backend={options.session_backend or 'redis'}",
        )
        (aside / project.name).rename(project)


@contextlib.contextmanager
def folder_beside(project: Path) -> Iterator[Path]:
    """A folder on the same file system, which is removed afterwards."""
    try:
        project.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".generating-", dir=project.parent))
    except OSError as error:
        raise TaskError(f"{project.parent}: {error.strerror}. Use --output") from error
    try:
        yield aside
    finally:
        shutil.rmtree(aside)


def serve(project: Path, options: argparse.Namespace) -> int:
    """Run the server until it ends; signals are passed on."""
    workers = options.workers or default_workers(project)
    say(f"Starting {workers} worker(s). Ctrl-C ends them.")
    command = [str(VENV / "bin/sanic"), "app", f"--workers={workers}", f"--port={options.port}"]
    # In a new session, so that Ctrl-C reaches it once: from here, not from the terminal.
    environment = {"GOSPA_DEMO": "true", **os.environ}
    server = subprocess.Popen(command, cwd=project, env=environment, start_new_session=True)
    pass_signals_to(server)
    try:
        code = watch(server, options.port)
    finally:  # also if the output is closed
        end(server)
    return code if code >= 0 else 128 - code


def end(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, finally by force."""
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def default_workers(project: Path) -> int:
    """One if a backend is in memory, so that two tabs see the same state."""
    kept = {backend_of(project, role) for role in ("state", "storage")}
    return 1 if "memory" in kept else 4


def watch(server: subprocess.Popen[bytes], port: int) -> int:
    """Print the address once the server answers; returns its exit code."""
    ready = False
    while (code := ended(server)) is None:
        if not ready and (ready := answers(port)):
            say(f"\n    The demo is at http://{HOST}:{port}: open it in two tabs.\n")
    return code


def pass_signals_to(server: subprocess.Popen[bytes]) -> None:
    """Pass the first signal on; the second ends the server and its workers at once."""

    def kill(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)

    def pass_on(number: int, _: FrameType | None) -> None:
        for again in SIGNALS:  # before the first is passed on, so that a second always kills
            signal.signal(again, kill)
        # A closed terminal stops the server gracefully; Sanic has no handler for SIGHUP.
        server.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    for number in SIGNALS:
        signal.signal(number, pass_on)


def ended(server: subprocess.Popen[bytes]) -> int | None:
    """The exit code if the server ends within a moment."""
    try:
        return server.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return None


def answers(port: int) -> bool:
    """Whether the application reports that it is alive."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    return False


if __name__ == "__main__":
    sys.exit(main())
