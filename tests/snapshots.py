"""What each choice makes of the generated project, as text to review and to compare with."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

FOLDER = Path(__file__).parent / "snapshots"
CODE = {".css", ".html", ".js", ".json", ".lua", ".py", ".svg", ".ts"}  # copied as it is
Files = Mapping[str, bytes]


def names(files: Files) -> str:
    """The files that a project has."""
    return "".join(f"{name}\n" for name in sorted(files))


def difference(default: Files, other: Files) -> str:
    """The files that come and go, and the changed lines of those that stay."""
    going = [f"- {name}" for name in sorted(default.keys() - other.keys())]
    coming = [f"+ {name}" for name in sorted(other.keys() - default.keys())]
    changed = [
        line
        for name in sorted(default.keys() & other.keys())
        if default[name] != other[name]
        for line in ("", f"= {name}", *_lines(name, default[name], other[name]))
    ]
    return "\n".join([*going, *coming, *changed, ""])


def changed_lines(default: Files, other: Files) -> list[str]:
    """The lines of `difference`, without order and place."""
    return sorted(
        line for line in difference(default, other).splitlines() if line[:1] in {"+", "-"}
    )


def is_rendered(name: str) -> bool:
    """Whether answers can change what is in this file."""
    return name == "app.py" or PurePath(name).suffix not in CODE


def _lines(name: str, before: bytes, after: bytes) -> Iterator[str]:
    if name == "LICENSE":  # another test compares it with its source
        return
    old, new = before.decode().splitlines(), after.decode().splitlines()
    for line in list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:]:
        if line[1:].startswith("    --hash="):  # of a package whose version is on the line before
            continue
        # Where a change is would be other with each edit above it.
        yield "@@" if line.startswith("@@") else line
