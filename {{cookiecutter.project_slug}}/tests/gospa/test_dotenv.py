"""The file of settings: read literally, and refused where programs would read it differently."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gospa import dotenv

PROGRAM = Path(dotenv.__file__)
LITERAL = {
    "REDIS_URL": "rediss://u:p%40ss@h:6379/0?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem",
    "GOSPA_ALLOWED_ORIGINS": "https://a.example, https://b.example",
    "A": "(x) ; y | z > w `id` * ~ ! é a#no",
    "B": "",
    "C": "a=b=c",
    "D": 'it\'s "so"',
}


def write(folder: Path, settings: dict[str, str]) -> None:
    lines = ["# a comment", "", *(f"{name}={value}" for name, value in settings.items())]
    (folder / ".env").write_text("\n".join([*lines, ""]), encoding="utf-8")


def shown(folder: Path, *arguments: str, **environ: str) -> dict[str, str]:
    """The environment of a command that is run with the file."""
    answer = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), *arguments, "env", "-0"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environ},
        check=True,
        capture_output=True,
    )
    pairs = (pair.partition("=") for pair in answer.stdout.decode().split("\0") if pair)
    return {name: value for name, _, value in pairs}


def test_values_arrive_as_they_are_written(tmp_path: Path) -> None:
    write(tmp_path, LITERAL)
    assert dotenv.read(str(tmp_path / ".env")) == LITERAL
    assert shown(tmp_path).items() >= LITERAL.items()


def test_the_environment_comes_first_then_the_file_then_defaults(tmp_path: Path) -> None:
    write(tmp_path, {"A": "file", "B": "file"})
    assert (
        shown(tmp_path, "A=default", "B=default", "C=default", A="environment").items()
        >= {
            "A": "environment",
            "B": "file",
            "C": "default",
        }.items()
    )


def test_without_a_file_there_are_the_defaults(tmp_path: Path) -> None:
    assert shown(tmp_path, "A=default")["A"] == "default"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("A", "write NAME=value"),
        ("export A=1", "write NAME=value"),
        ("A = 1", "write NAME=value"),
        ("2A=1", "write NAME=value"),
        ("A= x", "a blank"),
        ("A=x ", "a blank"),
        ('A="x"', "a quote"),
        ("A='x'", "a quote"),
        ("A=a$b", "%24"),
        ("A=a\\b", "%5C"),
        ("A=a # b", "comment"),
        ("A=a\tb", "control"),
        ("A=a\rb", "control"),
    ],
    ids=repr,
)
def test_what_programs_read_differently_is_refused_without_the_value(
    tmp_path: Path, line: str, problem: str
) -> None:
    (tmp_path / ".env").write_text(f"# first\n{line}\n", encoding="utf-8", newline="")
    with pytest.raises(dotenv.Ambiguous, match="line 2: ") as refused:
        dotenv.read(str(tmp_path / ".env"))
    assert problem in str(refused.value)
    answer = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), "true"], cwd=tmp_path, check=False, capture_output=True
    )
    assert answer.returncode == 2
    assert b"cannot start" in answer.stderr
    assert b"Traceback" not in answer.stderr


def test_another_file_can_be_named_and_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("A=other\n", encoding="utf-8")
    assert shown(tmp_path, "--file=other")["A"] == "other"
    with pytest.raises(subprocess.CalledProcessError):
        shown(tmp_path, "--file=none")


def test_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=1\r\nB=2\r\n")
    assert dotenv.read(str(tmp_path / ".env")) == {"A": "1", "B": "2"}


@pytest.mark.skipif(not shutil.which("systemd-run"), reason="there is no systemd")
def test_systemd_reads_the_same(tmp_path: Path) -> None:
    write(tmp_path, LITERAL)
    command = ["systemd-run", "--user", "--pipe", "--wait", "-q", "-p"]
    answer = subprocess.run(
        [*command, f"EnvironmentFile={tmp_path / '.env'}", "env", "-0"],
        check=False,
        capture_output=True,
    )
    if answer.returncode:
        pytest.skip("systemd does not run here")
    assert all(f"{name}={value}" in answer.stdout.decode() for name, value in LITERAL.items())
