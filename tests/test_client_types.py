"""The browser client's JSDoc types hold for TypeScript, and `make check` has it look at scripts."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.baking import assert_succeeds, run

CHECK = (sys.executable, "-I", "gospa/dev/javascript.py")  # as `make check` runs it


def test_types_hold(node_modules: Path, tree: Path) -> None:
    node = shutil.which("node")
    assert node, "npm is there, but no node"
    assert_succeeds((node, str(node_modules / "typescript/bin/tsc"), "-p", "jsconfig.json"), tree)


@pytest.mark.usefixtures("node_modules")
def test_the_check_of_a_project_finds_mistakes_in_scripts_and_asks_for_no_annotations(
    tree: Path,
) -> None:
    script = tree / "client/mine.js"
    script.write_text(
        "import { connect } from '/gospa/gospa.js';\n"
        "const board = connect().room('board/lobby');\n"
        "export const add = (amount) => board.call('add', { amount });\n"
        "document.getElementById('count').textContent = 'x';\n"
    )
    done = run(CHECK, tree)
    if "Left out" in done.stdout:
        script.unlink()
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout
    script.write_text(script.read_text() + "board.call('ad');\nif (board = 1) add(2);\n")
    done = run(CHECK, tree)
    script.unlink()
    assert done.returncode != 0
    assert "client/mine.js(5,12)" in done.stdout
    assert "no-const-assign" in done.stdout
