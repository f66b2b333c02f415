"""What a container image gets by `COPY . .`, by the patterns of a `.dockerignore`."""

import re
from pathlib import Path


def in_image(project: Path) -> set[str]:
    """The files that no pattern of the project's `.dockerignore` matches."""
    lines = (project / ".dockerignore").read_text(encoding="utf-8").splitlines()
    ignored = [_compiled(line) for line in lines if line and not line.startswith("#")]
    files = [path.relative_to(project) for path in project.rglob("*") if path.is_file()]
    return {
        file.as_posix()
        for file in files
        if not any(
            pattern.fullmatch(path.as_posix())
            for path in (file, *file.parents[:-1])  # a folder goes with all that is in it
            for pattern in ignored
        )
    }


def _compiled(pattern: str) -> re.Pattern[str]:
    """https://docs.docker.com/build/concepts/context/#syntax, but for exceptions and classes."""
    assert not re.search(r"[!\[\]\\]", pattern)
    parts = re.split(r"(\*\*/|\*|\?)", pattern)
    glob = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(glob.get(part) or re.escape(part) for part in parts))
