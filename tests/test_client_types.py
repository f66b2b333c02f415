"""The browser client's JSDoc types hold, as TypeScript understands them."""

import shutil
from pathlib import Path

import pytest

from tests.baking import APP, assert_succeeds

STRICT = ("--noEmit", "--allowJs", "--checkJs", "--strict", "--noImplicitReturns")
BROWSER = ("--target", "esnext", "--module", "esnext", "--moduleResolution", "bundler")


@pytest.mark.parametrize("script", ["gospa/gospa.js", "board/board.js", "account.js"])
def test_types_hold(node_modules: Path, script: str) -> None:
    node = shutil.which("node")
    assert node, "npm is there, but no node"
    compiler = str(node_modules / "typescript/bin/tsc")
    library = ("--lib", "esnext,dom,dom.iterable")
    assert_succeeds((node, compiler, *STRICT, *BROWSER, *library, script), APP / "client")
