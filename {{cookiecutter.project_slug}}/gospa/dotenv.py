"""Run a command with the settings in .env.

    python -I gospa/dotenv.py [--file=.env] [NAME=default ...] command

It does not import the application. Without a command it only checks the file.

The file is read literally, as by systemd (EnvironmentFile) and by Docker Compose (env_file). A
value that one of them would read differently is an error. The environment takes precedence over the
file.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

FILE = ".env"
LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
AMBIGUOUS = (
    (re.compile(r"^\s|\s$"), "begins or ends with a blank"),
    (re.compile(r"^[\"']"), "begins with a quote, which would be a part of it"),
    (re.compile(r"[$\\]"), "has a $ or a \\ (in a URL: %24 or %5C)"),
    (re.compile(r"(^|\s)#"), "has a # after a blank, which begins a comment"),
    (re.compile(r"[\x00-\x1f\x7f]"), "has a control character"),
)


class Ambiguous(ValueError):
    """A line that programs read differently; the text says where and why, without the value."""


def read(path: str = FILE) -> dict[str, str]:
    """The settings in a file; none if there is no file. Raises Ambiguous."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a start is quicker without pathlib
            text = file.read().decode()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise Ambiguous(f"{path} is not in UTF-8") from None
    return dict(_settings(path, text))


def names(variable: str, path: str = FILE) -> bool:
    """Whether a file seems to set a variable, in any notation."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return any(re.match(rf"(export\s+)?{variable}\s*=\s*\S", line) for line in file)
    except OSError:
        return False


def _settings(path: str, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip() or line.startswith(("#", ";")):
            continue
        found = LINE.fullmatch(line)
        if found is None:
            raise Ambiguous(f"{path}, line {number}: write NAME=value, without blanks around")
        for pattern, problem in AMBIGUOUS:
            if pattern.search(found[2]):
                raise Ambiguous(f"{path}, line {number}: the value of {found[1]} {problem}")
        yield found[1], found[2]


def merged(
    environ: Mapping[str, str], defaults: Mapping[str, str], path: str = FILE
) -> dict[str, str]:
    """The environment, completed from the file, then from the defaults. Raises Ambiguous."""
    return {**defaults, **read(path), **environ}


def main(arguments: Sequence[str]) -> int:
    """Replace this process with the command (exec); returns an exit code if that fails."""
    path = FILE
    if arguments and arguments[0].startswith("--file="):
        path, arguments = arguments[0].removeprefix("--file="), arguments[1:]
        if not os.path.exists(path):  # noqa: PTH110
            print(f"cannot start: there is no {path}", file=sys.stderr)  # noqa: T201
            return 2
    given = [found for each in arguments if (found := LINE.fullmatch(each))]
    command = arguments[len(given) :]
    try:
        environ = merged(os.environ, {found[1]: found[2] for found in given}, path)
        if command:
            os.execvpe(command[0], list(command), environ)  # noqa: S606 - the caller's own command
    except (Ambiguous, OSError) as error:
        print(f"cannot start: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
