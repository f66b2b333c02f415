"""The browser client's JSDoc types hold, as TypeScript understands them."""

import shutil
from pathlib import Path

from tests.baking import assert_succeeds


def test_types_hold(node_modules: Path, tree: Path) -> None:
    node = shutil.which("node")
    assert node, "npm is there, but no node"
    assert_succeeds((node, str(node_modules / "typescript/bin/tsc"), "-p", "jsconfig.json"), tree)
