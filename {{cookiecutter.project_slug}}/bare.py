# ruff: noqa: T201 - it talks to whoever runs it
"""Remove the example from this project, and then this program: `make bare`.

What remains is one small page, its view and its test, and empty lists of rooms to fill. Files that
you added stay, and so do all changes outside of the example's own files.

A file of the example is removed if it is as the template made it, or committed to git as it is.
If there are others, nothing is changed, unless `--yes` is given.
"""

import argparse
import hashlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# The example's files, with the beginning of their SHA-256 as the template made them.
EXAMPLE: Mapping[str, str] = {
    "client/account.css": "e26efbd16329",
    "client/account.html": "3de6b4276bff",
    "client/account.js": "22785626e783",
    "client/board/board.css": "5ca9142c07e7",
    "client/board/board.js": "3aa5380d0105",
    "client/board/breaking.js": "8fa482fc5507",
    "client/board/field.js": "5ab6856e0229",
    "client/board/guest.js": "e5e939bfaa90",
    "client/board/people.js": "cfe0f6ceb8e7",
    "client/board/pointers.js": "df2ad2d1fb51",
    "client/board/strip.js": "d5a52f668cc1",
    "client/index.html": "1705316602d8",
    "client/page.js": "599b315bcd2d",
    "rooms/board.py": "74873be9b765",
    "rooms/guest.py": "6524d2832cb0",
    "rooms/lounge.py": "47ca343fd170",
    "rooms/me.py": "2a71de0c3049",
    "tests/test_account.py": "1b3c9b73ed59",
    "tests/test_board.py": "db2327767069",
    "tests/test_demo.py": "25a3f1f74ada",
    "tests/test_guest.py": "dab92ca6c6a0",
    "tests/test_lounge.py": "0c7c1742329e",
    "tests/test_me.py": "ed0a61b71f22",
    "views/account.py": "5013470563ba",
    "views/demo.py": "10b03442741b",
}
INDEX = """\
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Home</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="/client/style.css">
  <script type="module" src="/client/index.js"></script>
</head>
<body>
  <header>
    <h1>Home</h1>
    <p id="status" role="status">connecting</p>
  </header>
  <main>
    <p>This page is <code>client/index.html</code>. How to add a room is in <code>docs/guide.md</code>.</p>
  </main>
</body>
</html>
"""  # noqa: E501
SCRIPT = """\
/** The page at /: shows the state of its connection. */

import { connect } from '/gospa/gospa.js';

const client = connect();
client.on('status', (state) => {
  const status = document.getElementById('status');
  if (status) status.textContent = state;
});
"""
NEW = {"client/index.html": INDEX, "client/index.js": SCRIPT}
MADE = ("client/rooms.d.ts",)  # by `make types`, which makes it for the rooms that you added
# Files that stay, without what they say of the example.
EDITED = (
    *("rooms/__init__.py", "views/__init__.py"),
    *("README.md", "docs/guide.md", "docs/how-to.md"),
)

NAMES = {"Board", "Lounge", "Me", "account", "account.blueprint", "demo", "demo.blueprint"}
ROOM_IMPORT = re.compile(r"^from rooms\.(?:board|lounge|me) import \w+\n", re.MULTILINE)
VIEW_IMPORT = re.compile(r"^(from views import )([\w, ]+)()$", re.MULTILINE)
LISTED = re.compile(r"(\b(?:ROOMS|VIEWS) = \[)(.*?)(\])", re.DOTALL)
SECTION = re.compile(r"^## The example\n.*?(?=^## )", re.DOTALL | re.MULTILINE)
EMPTY = re.compile(r"\n+ROOMS = \[\]$", re.MULTILINE)
TYPED = "\n\nfrom gospa import Room\n\nROOMS: list[type[Room]] = []"  # of what it is an empty list


def main(arguments: Sequence[str] | None = None) -> int:
    """Remove the example; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bare.py", description=__doc__)
    parser.add_argument("--yes", action="store_true", help="also remove what you have changed")
    options = parser.parse_args(arguments)
    found = [name for name in EXAMPLE if (ROOT / name).is_file()]
    changed = [name for name in found if not _is_as_made(name) and not _is_committed(name)]
    if changed and not options.yes:
        print(
            "These files of the example have changes that are in no commit:", *changed, sep="\n  "
        )
        print("Nothing was removed. Commit them, or remove them all: make bare YES=1")
        return 1
    edited = _edited()
    removed = [name for name in found if name not in NEW]
    removed += [name for name in MADE if (ROOT / name).is_file()]
    print("Removing the example:", *removed, Path(__file__).name, sep="\n  ")
    print("Writing:", *edited, sep="\n  ")
    _apply(removed, edited)
    if users := _users(removed):
        print("These files name what was removed, so change them as well:", *users, sep="\n  ")
    print("Done. docs/guide.md says how to add a room. If you have some already, run `make types`.")
    return 0


def digest(content: bytes) -> str:
    """The part of a file's SHA-256 that is recorded; the kind of line ends does not matter."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()[:12]


def _is_as_made(name: str) -> bool:
    """Whether a file is as the template made it, or as an interrupted run of this left it."""
    found = digest((ROOT / name).read_bytes())
    return found in (EXAMPLE[name], digest(NEW.get(name, "").encode()))


def _is_committed(name: str) -> bool:
    """Whether the last commit has the file as it is."""
    committed = _git("rev-parse", f"HEAD:./{name}")
    return bool(committed) and committed == _git("hash-object", name)


def _git(*arguments: str) -> str:
    """The output of git; empty if it fails or is not installed."""
    try:
        done = subprocess.run(  # noqa: S603
            ("git", *arguments),  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _edited() -> dict[str, str]:
    """The new text of each file that is to be written."""
    texts = dict(NEW)
    for name in EDITED:
        if (ROOT / name).is_file():
            before = (ROOT / name).read_text(encoding="utf-8")
            if (text := without_example(before)) != before:
                texts[name] = text
    return texts


def without_example(text: str) -> str:
    """A module or a page without the lines, names and sections of the example."""
    text = SECTION.sub("", ROOM_IMPORT.sub("", text))
    text = LISTED.sub(_others, VIEW_IMPORT.sub(_others, text))
    return EMPTY.sub(TYPED, text).replace("`ROOMS = [", "`ROOMS: list[type[Room]] = [")


def _others(found: re.Match[str]) -> str:
    """A list of names without those of the example."""
    before, names, after = found.groups()
    kept = [name for each in names.split(",") if (name := each.strip()) and name not in NAMES]
    return f"{before}{', '.join(kept)}{after}"


def _apply(removed: Sequence[str], edited: Mapping[str, str]) -> None:
    """Write, then remove, then remove this program: run again, it goes on where it stopped."""
    for name, text in edited.items():
        beside = ROOT / f"{name}.new"
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(ROOT / name)
    for name in removed:
        (ROOT / name).unlink()
    for folder in {(ROOT / name).parent for name in removed}:
        if not any(folder.iterdir()):
            folder.rmdir()
    Path(__file__).unlink()


def _users(removed: Sequence[str]) -> list[str]:
    """Your Python files that name a module which was removed."""
    modules = [name.removesuffix(".py").replace("/", r"\.") for name in removed]
    pattern = re.compile(r"\b(?:" + "|".join(m for m in modules if "tests" not in m) + r")\b")
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"]
    files = [*ROOT.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))]
    return [
        path.relative_to(ROOT).as_posix()
        for path in sorted(files)
        if path.is_file() and pattern.search(path.read_text(encoding="utf-8", errors="replace"))
    ]


if __name__ == "__main__":
    sys.exit(main())
