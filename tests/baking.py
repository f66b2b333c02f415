"""Generate projects, and run commands in them."""

import contextlib
import fcntl
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from cookiecutter.main import cookiecutter

from tests import conditions

ROOT = Path(__file__).parents[1]
APP = ROOT / "{{cookiecutter.project_slug}}"
OPTIONS: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES: dict[str, list[str]] = {
    n: v for n, v in OPTIONS.items() if isinstance(v, list) and n[0] != "_"
}
DEFAULT = {name: values[0] for name, values in CHOICES.items()}
# What may lie in a clone and is no part of the template; cookiecutter would take it along.
FOREIGN = (
    *(".git", ".venv", ".env", ".devstore", "demo", ".bench", "__pycache__", "*.egg-info"),
    *(".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
)

MYPY_CACHE = ROOT / ".mypy_cache"

TYPES = (sys.executable, "-m", "gospa", "types")  # as after each change of rooms

# The template's own checks, in the template and in what it generates.
CHECKS = {
    "ruff check": ("ruff", "check", "--no-cache", "."),
    "ruff format": ("ruff", "format", "--no-cache", "--check", "."),
    "mypy": ("mypy",),
    "import contracts": ("lint-imports", "--no-logo", "--no-cache"),
    "types of rooms": (*TYPES, "--check"),
}


class Baked(NamedTuple):
    """A generated project, and what was chosen for it."""

    path: Path
    answers: dict[str, str]

    @property
    def backends(self) -> dict[str, str]:
        """The backend of each role."""
        state, sessions = self.answers["state_backend"], self.answers["session_backend"]
        return {"pubsub": state, "state": state, "storage": sessions}


def combinations(*names: str) -> list[dict[str, str]]:
    """Every combination of these choices, or of all that cookiecutter.json offers."""
    choices = [CHOICES[name] for name in names or CHOICES]
    return [
        dict(zip(names or CHOICES, values, strict=True)) for values in itertools.product(*choices)
    ]


def name_of(answers: Mapping[str, str]) -> str:
    """A short name of a combination."""
    return " ".join(f"{name.removesuffix('_backend')}-{value}" for name, value in answers.items())


def bake(
    template: Path,
    output: Path,
    answers: Mapping[str, str] = MappingProxyType({}),
    *,
    overwrite: bool = False,
) -> Path:
    """Generate a project below `output`."""
    unknown = answers.keys() - OPTIONS.keys()
    assert not unknown, f"cookiecutter would ignore {unknown}"
    made = cookiecutter(
        str(template),
        no_input=True,
        default_config=True,
        extra_context=dict(answers),
        output_dir=str(output),
        overwrite_if_exists=overwrite,
    )
    return Path(made)


class Matrix(Mapping[str, Baked]):
    """A project of each combination of choices, by its name; generated when first asked for."""

    def __init__(self, template: Path, folder: Callable[[], Path]) -> None:
        self._template = template
        self._folder = folder
        self._answers = {name_of(answers): answers for answers in combinations()}
        self._made: dict[str, Baked] = {}

    def __getitem__(self, name: str) -> Baked:
        if name not in self._made:
            answers = self._answers[name]
            with conditions.watched():
                path = bake(self._template, self._folder(), answers)
            self._made[name] = Baked(path, answers)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)


def contents(project: Path) -> dict[str, bytes]:
    """All files of a project."""
    files = [path for path in sorted(project.rglob("*")) if path.is_file()]
    return {str(path.relative_to(project)): path.read_bytes() for path in files}


def run(
    command: Sequence[str], folder: Path, path: str | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run one of this environment's programs in a folder; `path` replaces the PATH."""
    tools = Path(sys.executable).parent
    environment = {
        "HYPOTHESIS_PROFILE": "quick",  # test_long.py has many examples
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}" if path is None else path,
        "MYPY_CACHE_DIR": str(MYPY_CACHE),
    }
    options = {"capture_output": True, "text": True, **options}
    with mypys_turn() if command[0] == "mypy" else contextlib.nullcontext():
        return subprocess.run(command, cwd=folder, env=environment, check=False, **options)


@contextlib.contextmanager
def mypys_turn() -> Iterator[None]:
    """Wait until no other test runs mypy: all use one cache, as projects share most files."""
    MYPY_CACHE.mkdir(exist_ok=True)
    with (MYPY_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def assert_succeeds(command: Sequence[str], folder: Path) -> None:
    """Run a command, and show what it said if it fails."""
    done = run(command, folder)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def commit(folder: Path, tag: str) -> None:
    """Commit and tag all that is in a folder, as its repository; with the fixture `own_git`."""
    if not (folder / ".git").exists():
        assert_succeeds(("git", "init", "--quiet"), folder)
    assert_succeeds(("git", "add", "--all"), folder)
    assert_succeeds(("git", "commit", "--quiet", "--message", tag), folder)
    assert_succeeds(("git", "tag", tag), folder)
