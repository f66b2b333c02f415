"""Change the hooks and the pure core in small ways, and see whether their tests notice each.

As a program: `python3 tasks.py mutate`. Works on copies. Exits with 1 if a change that is not
explained below was not noticed. https://cosmic-ray.readthedocs.io
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
APP = "{{cookiecutter.project_slug}}"
FOREIGN = (".git", ".venv", "demo", "node_modules", ".*_cache", "__pycache__", ".hypothesis")
UNIT = '-k "not with_a_remedy and not typed_at_the_prompts and not leaves_nothing_behind"'

TIMEOUT = 60.0  # seconds, for the tests of one change
# A fifth of a second to start, instead of a whole one: nothing here needs what conftest.py has.
PLUGINS = "-p no:cacheprovider -p pytest_asyncio.plugin -p pytest_timeout"
QUICKLY = f"-x -q --noconftest --assert=plain {PLUGINS}"

# Each module, the folder to work in, and what tests it.
TARGETS = {
    "hooks/pre_gen_project.py": (".", f"tests/test_hooks.py {UNIT}"),
    "hooks/post_gen_project.py": (".", f"tests/test_hooks.py {UNIT}"),
    "gospa/store/codec.py": (
        APP,
        "tests/gospa/store/test_codec_limits.py tests/gospa/store/test_codec.py",
    ),
    "gospa/store/draft.py": (
        APP,
        "tests/gospa/store/test_contract.py tests/gospa/store/test_draft.py",
    ),
    "gospa/store/contract.py": (APP, "tests/gospa/store/test_contract.py"),
    "gospa/live/wire.py": (
        APP,
        (
            "tests/gospa/live/test_wire_limits.py tests/gospa/store/test_contract.py "
            "tests/gospa/live/test_wire.py"
        ),
    ),
    "gospa/live/replica.py": (
        APP,
        "tests/gospa/live/test_replica_limits.py tests/gospa/live/test_replica.py",
    ),
    "gospa/sessions/session.py": (
        APP,
        "tests/gospa/sessions/test_session_limits.py tests/gospa/sessions/test_session.py",
    ),
}
HEADINGS = {"---", "+++"}
# `|` is nearly always part of a type here; most of what could replace it is no Python at all.
EXCLUDED = ["core/ReplaceBinaryOperator_BitOr_.*"]

SAME_TYPES = "types are equal if they are identical"
AS_CALLED = "the server passes what stands before by position and names the others"
# Changes that no test can notice, or that are not worth one: module, changed line, and why.
EXPLAINED = {
    "hooks/pre_gen_project.py": {
        'if __name__ <= "__main__":': "the names of modules are in lower case, and sort after it",
    },
    "hooks/post_gen_project.py": {
        'if __name__ <= "__main__":': "the names of modules are in lower case, and sort after it",
    },
    "gospa/store/codec.py": {
        "elif kind == list:": SAME_TYPES,
        "if kind == str:": SAME_TYPES,
        "elif kind == dict:": SAME_TYPES,
        "elif kind == int and not MIN_INT <= value <= MAX_INT:": SAME_TYPES,
        "elif kind == datetime and value.tzinfo is None:": SAME_TYPES,
        "if type(key) != str:": SAME_TYPES,
        "if type(item) == list:": SAME_TYPES,
        "elif type(item) == dict:": SAME_TYPES,
        "def check_bounds(value: Any, /, elements: int, depth: int) -> None:": AS_CALLED,
    },
    "gospa/store/contract.py": {
        f"MAX_REFUSED = {n}  # mutations remembered of a client: more than it may have under way": (
            "any number above that will do"
        )
        for n in (127, 129)
    },
    "gospa/live/wire.py": {
        (
            "def error(code: str, text: str, /, mutation: int | None = None, "
            "room: str | None = None) -> bytes:"
        ): AS_CALLED,
    },
    "gospa/live/replica.py": {
        (
            "if tag == self.tag > NO_TAG:  "
            "# without commits, what a room starts with may have changed"
        ): "a tag has eight bytes, and none sort before zeros",
    },
    "gospa/sessions/session.py": {
        **{
            f"return session if isfinite(record.created {sign} record.renewed) else None": (
                "whatever is made of times is only finite if both are"
            )
            for sign in "-*"
        },
        **dict.fromkeys(
            (
                "until: float = 1.0",
                "until: float = -1.0",
                "until = now + grace if replaced else 1.0",
                "until = now + grace if replaced else -1.0",
            ),
            "the time matters only beside a token that was replaced",
        ),
        **dict.fromkeys(
            (f"self[FLASH + secrets.token_hex( {n})] = text" for n in (3, 5)),
            "any few random bytes keep the keys of messages apart",
        ),
    },
}


class Mutant(NamedTuple):
    """A changed line of a module."""

    module: str
    before: str
    after: str
    noticed: bool


def mutants(module: str) -> list[Mutant]:
    """Try every change of a module, in a copy."""
    folder, tests = TARGETS[module]
    command = f"{sys.executable} -m pytest {QUICKLY} {tests}"
    with tempfile.TemporaryDirectory() as temporary:
        ignored = shutil.ignore_patterns(*FOREIGN)
        copy = shutil.copytree(ROOT, Path(temporary) / "copy", ignore=ignored)
        config, session = Path(temporary) / "config.toml", Path(temporary) / "session.sqlite"
        config.write_text(
            "[cosmic-ray]\n"
            f"module-path = [{json.dumps(module)}]\n"
            f"timeout = {TIMEOUT}\n"
            f"test-command = {json.dumps(command)}\n"
            "[cosmic-ray.distributor]\nname = 'local'\n"
            f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(EXCLUDED)}\n"
        )

        def tool(name: str, *arguments: str | Path) -> str:
            program = Path(sys.executable).with_name(name)
            command = [str(part) for part in (program, *arguments)]
            done = subprocess.run(
                command,
                cwd=copy / folder,
                env=environment(),
                check=True,
                capture_output=True,
                text=True,
            )
            return done.stdout

        tool("cosmic-ray", "baseline", config)
        tool("cosmic-ray", "init", config, session)
        tool("cr-filter-operators", session, config)
        tool("cosmic-ray", "exec", config, session)
        return list(read(module, tool("cosmic-ray", "dump", session)))


def environment() -> dict[str, str]:
    """Always the same examples, none remembered from another change."""
    return {
        **os.environ,
        "CI": "1",  # which hypothesis takes for its profile of this name
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def read(module: str, dump: str) -> Iterator[Mutant]:
    """The changes that were tried, from what cosmic-ray tells of a session."""
    for line in dump.splitlines():
        _, result = json.loads(line)
        if result is None or result["worker_outcome"] == "skipped":
            continue
        lines = (result["diff"] or "").splitlines()
        changed = [part for part in lines if part[:1] in {"+", "-"} and part[:3] not in HEADINGS]
        before = next((part[1:].strip() for part in changed if part[0] == "-"), "")
        after = next((part[1:].strip() for part in changed if part[0] == "+"), "")
        yield Mutant(module, before, after, noticed=result["test_outcome"] != "survived")


def main(modules: list[str]) -> int:
    """Try the changes of these modules, or of all, and say what was found."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = time.monotonic()
        unexplained = 0
        print("| module | changes | noticed | explained | neither |\n|---|---:|---:|---:|---:|")
        survivors: list[Mutant] = []
        for module, found in zip(
            modules or TARGETS, pool.map(mutants, modules or TARGETS), strict=True
        ):
            survived = [mutant for mutant in found if not mutant.noticed]
            neither = [m for m in survived if m.after not in EXPLAINED.get(m.module, {})]
            survivors += neither
            unexplained += len(neither)
            noticed = len(found) - len(survived)
            explained = len(survived) - len(neither)
            print(
                f"| `{module}` | {len(found)} | {noticed} | {explained} | {len(neither)} |",
                flush=True,
            )
    for mutant in survivors:
        print(f"\n{mutant.module}\n- {mutant.before}\n+ {mutant.after}")
    print(f"\n{time.monotonic() - started:.0f} s")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
