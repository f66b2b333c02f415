"""An import-linter contract between the engine and your code, without a list of packages.

Your code imports the engine's public names from `gospa` itself, and those of the Python client from
`gospa.client`. It does not import app.py, which imports your code. The engine imports nothing of
yours. Tests may import everything; files in `scripts/`, which people run, may import app.py.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output

ENGINE = "gospa"
CLIENT = "gospa.client"  # the only other public module
IGNORED = {"node_modules", "__pycache__"}
# Further modules of the engine that a file may import, by the first part of its path.
PUBLIC = {"app.py": ("gospa.backends", "gospa.extras")}


class Import(NamedTuple):
    """The line of an import statement, and the module it names."""

    line: int
    module: str


class Yours(Contract):
    """Checks every Python file below the current folder."""

    type_name = "yours"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002, FBT001
        broken = list(violations(Path.cwd()))
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["broken"]:
            output.print_error(line, bold=False)


def violations(root: Path) -> Iterator[str]:
    """Each import that breaks the contract, with its place and the remedy."""
    files = sorted(_sources(root))
    yours = {path.relative_to(root).parts[0].removesuffix(".py") for path in files} - {ENGINE}
    exported = _exported(root / ENGINE / "__init__.py")
    for path in files:
        name = path.relative_to(root)
        if _is_test(name):
            continue
        for line, module in _imports(path, root, exported):
            if remedy := _remedy(name, module, yours):
                yield f"{name.as_posix()}:{line} imports {module}: {remedy}"


def _is_test(name: Path) -> bool:
    """Whether a file may import everything."""
    named = name.stem == "conftest" or name.stem.startswith("test_")
    return name.parts[0] == "tests" or (named and name.parts[0] != ENGINE)


def _remedy(name: Path, module: str, yours: set[str]) -> str | None:
    """What to do instead of this import, or None if it is allowed."""
    place, package = name.parts[0], module.partition(".")[0]
    if place == ENGINE:
        return "the engine must not import your code" if package in yours else None
    if package == "app" and place not in ("app.py", "scripts"):
        return "app.py imports your code, not the other way round"
    public = module == CLIENT or module.startswith(PUBLIC.get(place, "-"))
    if module.startswith(f"{ENGINE}.") and not public:
        return f"import public names from `{ENGINE}` itself"
    return None


def _sources(root: Path) -> Iterator[Path]:
    """The Python files of a folder and its subfolders, except hidden and third-party ones.

    Links to folders are not followed, because they may form cycles.
    """
    for path in root.iterdir():
        if path.name.startswith(".") or path.name in IGNORED:
            continue
        if path.is_dir():
            if not (path.is_symlink() or (path / "pyvenv.cfg").exists()):
                yield from _sources(path)
        elif path.suffix == ".py" and path.is_file():
            yield path


def _exported(package: Path) -> set[str]:
    """The names in a package's `__all__`; some may be modules."""
    for node in ast.parse(package.read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def _imports(path: Path, root: Path, exported: set[str]) -> Iterator[Import]:
    """The absolute imports of a file, including those inside functions."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                public = node.module == ENGINE and alias.name in exported
                named = _is_module(module, root) and not public
                yield Import(node.lineno, module if named else node.module)


def _is_module(name: str, root: Path) -> bool:
    path = root.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()
