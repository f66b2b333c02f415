"""Name the application and the chosen backends in app.py, and remove the other backends."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

BACKENDS = ("memory", "redis")
# The roles of a backend, and the answer that chooses it.
ROLES = {"pubsub": "state_backend", "state": "state_backend", "storage": "session_backend"}
# Files of a single role. A backend's roles share all other files in its folders.
FILES = {
    "pubsub": ("pubsub.py", "listener.py", "cluster/pubsub.py", "test_pubsub.py"),
    "state": (
        "state.py",
        "inspection.py",
        "commit.lua",
        "test_state.py",
        "test_inspection.py",
        "test_cluster.py",
        "test_faults.py",
    ),
    "storage": (
        "storage.py",
        "test_storage.py",
        "test_cluster_storage.py",
        "test_shared_sessions.py",
    ),
}
FOLDERS = ("gospa/backends", "tests/gospa/backends")
# Additional files of a project with its state in Redis, with anything in Redis, and of no project.
SHARED_STATE = ("docs/chaos.md", "docs/scaling.md", "tests/gospa/chaos", "tests/gospa/fleet")
REDIS = ("docs/backup.md", "docs/redis.md", "tests/gospa/redis_servers.py")
BOTH_BACKENDS = ("tests/gospa/backends/test_equal.py",)

NAME = re.compile(r'^NAME = "\w+"', re.MULTILINE)
IMPORT = re.compile(r"^from gospa\.backends\.\w+\.(\w+) import \w+\r?\n", re.MULTILINE)

# Tools create these in the template's tree when they run there, and cookiecutter copies them.
CACHES = (".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache")


class SelectionError(Exception):
    """The project does not have the files that this hook expects."""


def unwanted(answers: dict[str, str]) -> Iterator[str]:
    """The files and folders that these answers do not need."""
    chosen = {role: answers[answer] for role, answer in ROLES.items()}
    for backend in BACKENDS:
        for folder in FOLDERS:
            if backend not in chosen.values():
                yield f"{folder}/{backend}"
            for role in [role for role in ROLES if chosen[role] != backend]:
                yield from (f"{folder}/{backend}/{name}" for name in FILES[role])
    yield from BOTH_BACKENDS
    if chosen["state"] != "redis":
        yield from SHARED_STATE
    if "redis" not in chosen.values():
        yield from REDIS


def name_backends(source: str, answers: dict[str, str]) -> str:
    """The text of app.py with the chosen backends in its import lines, sorted."""
    lines = list(IMPORT.finditer(source))
    if sorted(line[1] for line in lines) != sorted(ROLES):
        raise SelectionError(
            "app.py needs one line like 'from gospa.backends.redis.state import STATE' for each of "
            f"{', '.join(ROLES)}. Correct app.py, or ROLES in hooks/post_gen_project.py."
        )
    named = [line[0].replace(".redis.", f".{answers[ROLES[line[1]]]}.") for line in lines]
    return source[: lines[0].start()] + "".join(sorted(named)) + source[lines[-1].end() :]


def name_application(source: str, slug: str) -> str:
    """The text of app.py with the project's slug as the application's name."""
    named, count = NAME.subn(f'NAME = "{slug}"', source)
    if count != 1:
        raise SelectionError(
            "app.py needs one line 'NAME = \"app\"'. Correct app.py, or NAME in "
            "hooks/post_gen_project.py."
        )
    return named


def caches(root: Path) -> list[Path]:
    """The folders of CACHES, and bytecode folders outside hidden ones such as .venv."""
    visible = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    bytecode = [cache for folder in visible for cache in folder.rglob("__pycache__")]
    of_tools = [root / name for name in (*CACHES, "__pycache__")]
    return [path for path in (*of_tools, *bytecode) if path.is_dir()]


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def select(root: Path, answers: dict[str, str]) -> None:
    """Reduce the project at `root` to the chosen backends. Raises SelectionError."""
    chosen = [f"gospa/backends/{answers[answer]}/{role}.py" for role, answer in ROLES.items()]
    if missing := [module for module in chosen if not (root / module).is_file()]:
        raise SelectionError(
            f"the template has no {', '.join(missing)}. Generate from a fresh clone."
        )
    app = root / "app.py"
    # Bytes, so that no platform converts line ends.
    source = name_backends(app.read_bytes().decode(), answers)
    app.write_bytes(name_application(source, answers.get("project_slug", "app")).encode())
    for path in (*caches(root), *(root / name for name in unwanted(answers))):
        remove(path)


def main() -> int:
    """Select the modules for the answers."""
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    try:
        select(Path.cwd(), answers)
    except SelectionError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Made {answers['project_slug']}. Its README.md says how to run it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
