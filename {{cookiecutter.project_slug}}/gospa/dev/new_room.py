"""Write a room and its test, and add the room to the list: `make new-room NAME=quiz`.

    python gospa/dev/new_room.py quiz

The files are copies of `sample.py` and its test, which are themselves checked and tested.
"""

import ast
import builtins
import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SAMPLE = Path(__file__).with_name("sample.py")
SAMPLE_TEST = "tests/gospa/dev/test_sample.py"
LIST = "rooms/__init__.py"
FORM = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
LONGEST = 24  # so that no generated line is too long
# Names that client/rooms.d.ts cannot declare, and those of Python itself.
TAKEN = frozenset({"Date", "Readonly", "Record", *keyword.kwlist, *dir(builtins)})
LISTED = re.compile(r"^(ROOMS(?:: [^=\n]+)? = \[)(.*?)(,?\s*)(\])", re.MULTILINE | re.DOTALL)


class NotWritten(Exception):
    """The room was not written; the text says why and what to do."""


class Name(NamedTuple):
    """A room's name, as a module and as a class."""

    module: str
    kind: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the room; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        written = write(Path.cwd(), given[0] if given else "")
    except NotWritten as error:
        print(f"new-room: {error}", file=sys.stderr)
        return 1
    print("Wrote:", *written, sep="\n  ")
    print(
        f"Next: change its state and actions in {written[0]}, and its test in {written[1]} "
        "(`make test`). docs/guide.md has a page that joins a room."
    )
    return 0


def write(root: Path, text: str) -> list[str]:
    """Write the files of a room, all or none; returns their names. Raises NotWritten."""
    name = checked(root, text)
    files = {
        f"rooms/{name.module}.py": renamed(SAMPLE.read_text(encoding="utf-8"), name),
        f"tests/test_{name.module}.py": renamed(
            (root / SAMPLE_TEST).read_text(encoding="utf-8"), name
        ),
        LIST: listed((root / LIST).read_text(encoding="utf-8"), name),
    }
    for path in files:
        if path != LIST and (root / path).exists():
            raise NotWritten(f"{path} exists: choose another name, or remove it")
    for path, content in files.items():
        (root / path).write_text(content, encoding="utf-8", newline="\n")
    return list(files)


def checked(root: Path, text: str) -> Name:
    """The name, if it is valid and free. Raises NotWritten."""
    if not FORM.fullmatch(text) or len(text) > LONGEST:
        raise NotWritten(
            f"NAME={text!r} is not a name of a room: use up to {LONGEST} lowercase letters, digits "
            "and single underscores, a letter first, for example NAME=quiz or NAME=chat_room"
        )
    name = Name(text, "".join(part.capitalize() for part in text.split("_")))
    own = {name.kind, f"{name.kind}State", f"{name.kind}Entry"}
    taken = TAKEN | _names(SAMPLE.read_text(encoding="utf-8"))
    if keyword.iskeyword(text) or own & taken or text.startswith(("conftest", "test_")):
        raise NotWritten(f"NAME={text} is taken by Python, pytest or gospa: choose another one")
    for path in sorted((root / "rooms").glob("*.py")):
        source = path.read_text(encoding="utf-8", errors="replace")
        if own & _names(source) or re.search(rf"pattern = [\"']{text}[/\"']", source):
            raise NotWritten(
                f"{path.relative_to(root)} has {name.kind} or the pattern {text} already: choose "
                f"another name than NAME={text}"
            )
    return name


def renamed(text: str, name: Name) -> str:
    """The text of a sample with the names replaced by those of the room."""
    words = " ".join(name.module.split("_"))
    for before, after in (
        ("gospa.dev.sample", f"rooms.{name.module}"),
        ('= "Sample"', f'= "{words.capitalize()}"'),
        ('"""Sample:', f'"""{words.capitalize()}:'),
        ("sample/", f"{name.module}/"),
    ):
        text = text.replace(before, after)
    text = re.sub(r"\bSample", name.kind, text)
    return _sorted_imports(re.sub(r"\bsample\b", "room", text))


def _sorted_imports(text: str) -> str:
    """The text with the imports of the application's modules after those of the engine."""
    own = re.search(r"^from rooms\..*\n", text, re.MULTILINE)
    if own is None:
        return text
    before, after = text[: own.start()], text[own.end() :]
    last = list(re.finditer(r"^from gospa.*\n", after, re.MULTILINE))[-1]
    return f"{before}{after[: last.end()]}{own[0]}{after[last.end() :]}"


def listed(text: str, name: Name) -> str:
    """The text of `rooms/__init__.py` with the room in its list. Raises NotWritten."""
    if len(LISTED.findall(text)) != 1:
        raise NotWritten(f"{LIST} has no line `ROOMS = [...]`: add one, or list the room yourself")

    def appended(found: re.Match[str]) -> str:
        start, names, end, bracket = found.groups()
        if "\n" in found[0]:
            return f"{start}{names},\n    {name.kind},\n{bracket}"
        return f"{start}{names}{', ' if names else ''}{name.kind}{end.strip(', ')}{bracket}"

    text = LISTED.sub(appended, text)
    line = f"from rooms.{name.module} import {name.kind}\n"
    imports = list(re.finditer(r"^from rooms\.(\w+) import .*\n", text, re.MULTILINE))
    for found in imports:
        if found[1] > name.module:
            return text[: found.start()] + line + text[found.start() :]
    if imports:
        end = imports[-1].end()
        return text[:end] + line + text[end:]
    engine = re.search(r"^from gospa import .*\n", text, re.MULTILINE)
    end = engine.end() if engine else LISTED.search(text).start()  # type: ignore[union-attr] # seen
    return text[:end] + line + ("" if engine else "\n") + text[end:]


def _names(source: str) -> set[str]:
    """The names that a module imports or defines."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


if __name__ == "__main__":
    sys.exit(main())
