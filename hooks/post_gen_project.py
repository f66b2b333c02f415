"""Keep the modules of the chosen backends: name them in app.py, remove the others."""

import json
import re
import shutil
import sys
from pathlib import Path

# What only some answers need: each path stays if one of its choices was made.
STATE_MEMORY, STATE_REDIS = "state_backend:memory", "state_backend:redis"
SESSION_MEMORY, SESSION_REDIS = "session_backend:memory", "session_backend:redis"
PLAN = {
    "docs/chaos.md": {STATE_REDIS},
    "docs/scaling.md": {STATE_REDIS},
    "docs/redis.md": {STATE_REDIS, SESSION_REDIS},
    "server/cluster.py": {STATE_REDIS, SESSION_REDIS},
    "server/devstore.py": {STATE_REDIS, SESSION_REDIS},
    "server/pipe.py": {STATE_REDIS, SESSION_REDIS},
    "server/pubsub/cluster.py": {STATE_REDIS},
    "server/pubsub/listener.py": {STATE_REDIS},
    "server/pubsub/memory.py": {STATE_MEMORY},
    "server/pubsub/redis.py": {STATE_REDIS},
    "server/redis.py": {STATE_REDIS, SESSION_REDIS},
    "server/sessions/memory.py": {SESSION_MEMORY},
    "server/sessions/redis.py": {SESSION_REDIS},
    "server/state/commit.lua": {STATE_REDIS},
    "server/state/memory.py": {STATE_MEMORY},
    "server/state/redis.py": {STATE_REDIS},
    "tests/chaos/app.py": {STATE_REDIS},
    "tests/chaos/client.py": {STATE_REDIS},
    "tests/chaos/faults.py": {STATE_REDIS},
    "tests/chaos/proxy.py": {STATE_REDIS},
    "tests/chaos/rooms.py": {STATE_REDIS},
    "tests/chaos/run.py": {STATE_REDIS},
    "tests/chaos/store.py": {STATE_REDIS},
    "tests/chaos/test_chaos.py": {STATE_REDIS},
    "tests/chaos/truth.py": {STATE_REDIS},
    "tests/process/capacity.py": {STATE_REDIS},
    "tests/process/crowd.py": {STATE_REDIS},
    "tests/process/network.py": {STATE_REDIS},
    "tests/process/test_graceful.py": {STATE_REDIS},
    "tests/process/test_memory_warning.py": {STATE_MEMORY, SESSION_MEMORY},
    "tests/process/test_several_hosts.py": {STATE_REDIS},
    "tests/process/test_shared_sessions.py": {SESSION_REDIS},
    "tests/process/test_shared_state.py": {STATE_REDIS},
    "tests/redis_servers.py": {STATE_REDIS, SESSION_REDIS},
    "tests/pubsub/test_memory.py": {STATE_MEMORY},
    "tests/pubsub/test_redis.py": {STATE_REDIS},
    "tests/sessions/test_cluster.py": {SESSION_REDIS},
    "tests/sessions/test_memory.py": {SESSION_MEMORY},
    "tests/sessions/test_redis.py": {SESSION_REDIS},
    "tests/state/test_equal.py": set(),  # compares both, which no project has
    "tests/state/test_memory.py": {STATE_MEMORY},
    "tests/state/test_redis.py": {STATE_REDIS},
    "tests/test_cluster.py": {STATE_REDIS},
    "tests/test_devstore.py": {STATE_REDIS, SESSION_REDIS},
    "tests/test_pipe.py": {STATE_REDIS, SESSION_REDIS},
    "tests/test_redis.py": {STATE_REDIS, SESSION_REDIS},
    "tests/test_redis_forms.py": {STATE_REDIS, SESSION_REDIS},
}

# The packages whose backend app.py imports, and the answer that names it.
IMPORTS = {"pubsub": "state_backend", "sessions": "session_backend", "state": "state_backend"}

# Tools leave these in the template's own tree when they run there, and cookiecutter copies them.
CACHES = (".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache")


class SelectionError(Exception):
    """The project is not as this hook knows it."""


def unwanted(answers: dict[str, str]) -> list[str]:
    """The paths of the plan that these answers have no use for."""
    chosen = {f"{name}:{answers[name]}" for name in ("state_backend", "session_backend")}
    return [path for path, choices in PLAN.items() if not choices & chosen]


def still_to_remove(root: Path, answers: dict[str, str]) -> list[str]:
    """The unwanted paths, or none of them if an earlier run removed them all.

    Raises SelectionError if a path is missing that should be there.
    """
    surplus = unwanted(answers)
    present = [path for path in surplus if (root / path).is_file()]
    expected = [path for path in PLAN if present or path not in surplus]
    missing = [path for path in expected if not (root / path).is_file()]
    if missing:
        raise SelectionError(
            f"the template has no {', '.join(missing)}. "
            "Correct PLAN in hooks/post_gen_project.py, or generate from a fresh clone."
        )
    return present


def name_backends(source: str, answers: dict[str, str]) -> str:
    """The text of app.py with the chosen backends in its import lines."""
    for package, answer in IMPORTS.items():
        line = re.compile(rf"^from server\.{package} import \w+ as {package}$", re.MULTILINE)
        source, count = line.subn(
            f"from server.{package} import {answers[answer]} as {package}", source
        )
        if count != 1:
            raise SelectionError(
                f"app.py has {count} lines like 'from server.{package} import redis as {package}'. "
                "It needs exactly one: correct app.py, or IMPORTS in hooks/post_gen_project.py."
            )
    return source


def caches(root: Path) -> list[Path]:
    """The folders of CACHES, and of bytecode outside hidden folders such as .venv."""
    visible = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    bytecode = [cache for folder in visible for cache in folder.rglob("__pycache__")]
    of_tools = [root / name for name in (*CACHES, "__pycache__")]
    return [path for path in (*of_tools, *bytecode) if path.is_dir()]


def remove(root: Path, path: str) -> None:
    """Remove a file, and the folders that are empty without it; the root has more files."""
    file = root / path
    file.unlink()
    for folder in file.parents:
        if any(folder.iterdir()):
            return
        folder.rmdir()


def select(root: Path, answers: dict[str, str]) -> None:
    """Make the project at `root` one of the chosen backends. Raises SelectionError."""
    for cache in caches(root):
        shutil.rmtree(cache)
    surplus = still_to_remove(root, answers)
    app = root / "app.py"
    # Bytes, so that no platform's line ends get in.
    app.write_bytes(name_backends(app.read_bytes().decode(), answers).encode())
    for path in surplus:
        remove(root, path)


def main() -> int:
    """Select the modules of this run's answers."""
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
