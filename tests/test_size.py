"""Modules and functions of the application can be seen whole."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.baking import APP

LONGEST_MODULE, LONGEST_FUNCTION = 300, 40  # lines
FOLDERS = ("gospa", "rooms", "views")


def sources() -> list[Path]:
    """The code of the application, in Python and JavaScript."""
    found = [APP / "app.py"]
    for folder in (*FOLDERS, "client"):
        found += [path for path in (APP / folder).rglob("*") if path.suffix in {".py", ".js"}]
    return found


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a Python module with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert len(lengths) > 50
    assert {p.relative_to(APP): n for p, n in lengths.items() if n > LONGEST_MODULE} == {}


def test_no_function_is_too_long_to_be_seen_at_once() -> None:
    lengths = [
        (path.relative_to(APP), name, lines)
        for path in sources()
        if path.suffix == ".py"
        for name, lines in functions(path)
    ]
    assert len(lengths) > 500
    assert [entry for entry in lengths if entry[2] > LONGEST_FUNCTION] == []
