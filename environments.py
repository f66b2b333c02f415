"""Virtual environments and their packages, by uv if it is installed, else by pip."""

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PINNED = re.compile(r"^[\w.-]+==[^\\\n]+?(?= \\$)", re.MULTILINE)
COLLECTED = re.compile(r"Collecting ([\w.-]+)")
STEP = 10  # packages between lines of progress, if output is not a terminal
UNKNOWN = 0  # how many packages: their dependencies are not known before pip collects them


class TaskError(Exception):
    """A task failed; the text says why and what to do."""


def requirements(pyproject: Path, group: str | None = None) -> set[str]:
    """What a pyproject.toml says the project needs, with one of its dependency groups."""
    asked = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    return {
        *asked["project"]["dependencies"],
        *(asked["dependency-groups"][group] if group else ()),
    }


def pinned(lock: Path) -> set[str]:
    """The packages and versions of a lock, for example `sanic==25.12.1`."""
    return set(PINNED.findall(lock.read_text(encoding="utf-8")))


def install(venv: Path, lock: Path | None = None, more: frozenset[str] = frozenset()) -> Path:
    """Create an environment with the packages of a lock, and others; returns its Python."""
    python, installed = venv / "bin/python", venv / "installed.txt"
    locked = pinned(lock) if lock else set()
    if installed.is_file() and python.exists():
        there = set(installed.read_text(encoding="utf-8").splitlines())
        if locked | more <= there:
            return python
    if not runs(python):
        make_venv(venv)
    installed.unlink(missing_ok=True)
    if lock:
        fetch(python, len(locked), "--require-hashes", "--no-deps", "--requirement", lock)
    if more:
        fetch(python, UNKNOWN, *sorted(more))
    installed.write_text("\n".join(sorted(locked | more)), encoding="utf-8")
    return python


def fetch(python: Path, count: int, *what: str | Path) -> None:
    """Install `count` packages, or also their dependencies, into an environment."""
    number = f"{count} packages" if count else f"{len(what)} packages and their dependencies"
    say(f"Installing {number} into {python.parent.parent}: once.")
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--quiet", "--python", python, *what]
        failed = subprocess.run(list(map(str, command)), check=False).returncode != 0
    else:
        # Python compiles modules that it imports, which are fewer than all that are installed.
        quick = ("--disable-pip-version-check", "--no-compile")
        command = [*pip_for(python), "install", *quick, *what]
        failed = not show_progress(list(map(str, command)), count)
    if failed:
        raise TaskError(
            "the packages could not be installed: see above. Fix that (the network?), and start "
            "again"
        )


def show_progress(command: list[str], count: int) -> bool:
    """Run pip, and print the current package, of `count` if known; returns if it succeeded."""
    of = f" of {count}" if count else ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pip:
        for number, name in enumerate(collected(pip.stdout or iter(())), 1):
            if sys.stdout.isatty():
                print(f"\r\033[K  {number}{of}: {name}", end="", flush=True)
            elif number % STEP == 0:
                say(f"  {number}{of}: {name}")
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
    return pip.returncode == 0


def collected(lines: Iterator[str]) -> Iterator[str]:
    """The names of the packages in the output of pip."""
    for line in lines:
        if found := COLLECTED.match(line):
            yield found[1]


def pip_for(python: Path) -> tuple[str | Path, ...]:
    """The command that runs pip for an environment, which may lack pip."""
    if has_pip(python):
        return (python, "-m", "pip")
    return (sys.executable, "-m", "pip", "--python", python)


def has_pip(python: Path) -> bool:
    """Whether an environment has its own pip."""
    return any((python.parent.parent / "lib").glob("python*/site-packages/pip/__init__.py"))


def can_install_elsewhere() -> bool:
    """Whether this Python has a pip with `--python`, because installing pip takes seconds."""
    try:
        major, minor = importlib.metadata.version("pip").split(".")[:2]
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False
    return (int(major), int(minor)) >= (22, 3)


def runs(python: Path) -> bool:
    """Whether this is the Python of a working environment."""
    if not python.exists():
        return False
    done = subprocess.run([str(python), "-c", ""], check=False, capture_output=True)
    able = has_pip(python) or can_install_elsewhere() or shutil.which("uv") is not None
    return done.returncode == 0 and able


def make_venv(venv: Path) -> None:
    """Make an empty virtual environment."""
    say(f"Making the virtual environment {venv}.")
    command: list[str | Path] = [sys.executable, "-m", "venv", "--clear", venv]
    if shutil.which("uv") or can_install_elsewhere():
        command.append("--without-pip")
    elif importlib.util.find_spec("ensurepip") is None:
        raise TaskError(
            "this Python cannot make virtual environments. Install what it lacks "
            "(Debian, Ubuntu: apt-get install python3-venv), uv, or another Python"
        )
    run("it could not be made: see above", *command)


def run(failure: str, *command: str | Path) -> None:
    """Run a command. Raises TaskError with `failure` if it fails."""
    if subprocess.run([str(part) for part in command], check=False).returncode:
        raise TaskError(failure)


def say(text: str) -> None:
    """Print without buffering, also if output is not a terminal."""
    print(text, flush=True)
