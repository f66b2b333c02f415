"""Generating needs nothing but cookiecutter, wherever it happens, and leaves nothing half made."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.baking import APP, Matrix, contents, run
from tests.browsing import TIMEOUT

PROGRAM = str(Path(sys.executable).with_name("cookiecutter"))  # as pip installs it
QUIETLY = (PROGRAM, "--default-config", "--no-input")
CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24
# Loaded by every Python below: whoever looks up or connects to a host fails.
OFFLINE = """
import socket
def refuse(*_, **__):
    raise OSError("there is no network")
socket.getaddrinfo = socket.socket.connect = socket.socket.connect_ex = refuse
"""


def obey_permissions() -> None:
    """Have root, too, write only where it may (man 2 prctl); others do so anyway."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
        raise OSError("root cannot be held to permissions here")


def test_needs_neither_git_nor_network_nor_a_plain_path(
    template: Path, matrix: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "Zo\u00eb's \u30a2\u30d7\u30ea & more"
    shutil.copytree(template, here / "the template")
    (tmp_path / "offline").mkdir()
    (tmp_path / "offline/sitecustomize.py").write_text(OFFLINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "offline"))
    command = (PROGRAM, "--default-config", "--no-input", str(here / "the template"))
    done = run(command, here, path="")
    assert done.returncode == 0, done.stderr
    default = next(iter(matrix.values()))
    assert contents(here / "my_live_app") == contents(default.path)
    monkeypatch.delenv("PYTHONPATH")
    started = run(
        (sys.executable, "-c", "from app import app; print(app.name)"), here / "my_live_app"
    )
    assert started.stdout == "my_live_app\n", started.stderr


def test_network_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(OFFLINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fetch = "import urllib.request as u; u.urlopen('http://127.0.0.1:9')"
    assert "there is no network" in run((sys.executable, "-c", fetch), tmp_path).stderr


def test_folder_that_cannot_be_written_is_said(template: Path, tmp_path: Path) -> None:
    target = tmp_path / "read-only"
    target.mkdir(mode=0o555)
    try:
        done = run((*QUIETLY, str(template)), target, preexec_fn=obey_permissions)
    except subprocess.SubprocessError:
        pytest.skip("this root has no permissions to give up")
    assert done.returncode != 0
    assert "Permission denied" in done.stderr or "Unable to create" in done.stderr
    assert list(target.iterdir()) == []


def test_folder_that_exists_is_left_alone(template: Path, tmp_path: Path) -> None:
    mine = tmp_path / "my_live_app/app.py"
    mine.parent.mkdir()
    mine.write_text("# mine\n")
    done = run((*QUIETLY, str(template)), tmp_path)
    assert done.returncode != 0
    assert "already exists" in done.stderr + done.stdout
    assert contents(tmp_path) == {"my_live_app/app.py": b"# mine\n"}


def test_over_an_existing_project_code_is_written_again_as_the_readme_says(
    template: Path, matrix: Matrix, tmp_path: Path
) -> None:
    """Cookiecutter skips what it renders (`-s`), but not what it copies, such as code."""
    project = tmp_path / "my_live_app"
    shutil.copytree(next(iter(matrix.values())).path, project)
    whole = contents(project)
    mine = dict.fromkeys(("app.py", "README.md", "rooms/mine.py"), b"mine")
    for name, text in mine.items():
        (project / name).write_bytes(text)
    done = run((*QUIETLY, "-f", "-s", str(template)), tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(project) == {**whole, **mine, "app.py": whole["app.py"]}
    done = run((*QUIETLY, "-f", str(template)), tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(project) == {**whole, "rooms/mine.py": b"mine"}


@pytest.mark.parametrize("whose", ["template", "project"])
def test_a_checkout_with_other_line_ends_is_the_same(
    template: Path, matrix: Matrix, tmp_path: Path, whose: str
) -> None:
    """As with core.autocrlf, which Git for Windows sets."""
    origin = tmp_path / "origin"
    shutil.copytree(template if whose == "template" else next(iter(matrix.values())).path, origin)
    before = contents(origin)
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), ("add", "--all"), (*author, "commit", "-q", "-m", "all")):
        assert run(("git", *command), origin).returncode == 0
    cloned = run(("git", "clone", "-q", "-c", "core.autocrlf=true", "origin", "clone"), tmp_path)
    assert cloned.returncode == 0, cloned.stderr
    shutil.rmtree(tmp_path / "clone/.git")
    after = contents(tmp_path / "clone")
    assert {name: text for name, text in before.items() if after.get(name, text) != text} == {}
    assert {"README.md", ".gitattributes"} <= after.keys()


def test_leaving_the_questions_leaves_nothing(template: Path, tmp_path: Path) -> None:
    done = run((PROGRAM, "--default-config", str(template)), tmp_path, input="My App\n")
    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []


def heed_interrupts() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_generation_that_was_interrupted_can_be_repeated_as_the_readme_says(
    template: Path, matrix: Matrix, tmp_path: Path
) -> None:
    """Cookiecutter removes what it wrote if a hook fails, but not on Ctrl-C; hooks hear nothing."""
    halting = shutil.copytree(template, tmp_path / "template")
    pipe = halting / APP.name / "gospa/halt"
    os.mkfifo(pipe)
    command = (*QUIETLY, str(halting))
    with (
        subprocess.Popen(
            command,
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,  # noqa: PLW1509 - no thread of ours runs meanwhile
        ) as interrupted,
        pipe.open("wb"),  # once cookiecutter reads it
    ):
        interrupted.send_signal(signal.SIGINT)
        _, said = interrupted.communicate(timeout=TIMEOUT)
    assert "Aborted" in said
    pipe.unlink()
    default = next(iter(matrix.values()))
    part, whole = contents(tmp_path / "my_live_app"), contents(default.path)
    assert "app.py" in part
    assert whole.keys() - part.keys()

    assert "already exists" in run(command, tmp_path).stdout
    assert contents(tmp_path / "my_live_app") == part
    again = run((*command, "-f"), tmp_path)
    assert again.returncode == 0, again.stderr
    assert contents(tmp_path / "my_live_app") == whole


@pytest.mark.parametrize(
    "name",
    [
        "\u00c9t\u00e9 \u00e0 Z\u00fcrich",
        "\u30a2\u30d7\u30ea",
        "  -- My  App!! ",
        "x" * 5000,
        "\N{ROCKET}",
    ],
)
def test_any_name_makes_a_folder(name: str, template: Path, tmp_path: Path) -> None:
    done = run((*QUIETLY, str(template), f"project_name={name}"), tmp_path)
    assert done.returncode == 0, done.stderr
    (project,) = tmp_path.iterdir()
    files = contents(project)
    assert name in files["README.md"].decode()
    assert tomllib.loads(files["pyproject.toml"].decode())["project"]["name"] == project.name
    assert re.fullmatch("[a-z_]{1,64}", project.name)


@pytest.mark.parametrize("name", ["7 Wonders", "Con", "Gospa"])
def test_name_that_makes_no_folder_is_refused_with_a_remedy(
    name: str, template: Path, tmp_path: Path
) -> None:
    done = run((*QUIETLY, str(template), f"project_name={name}"), tmp_path)
    assert done.returncode != 0
    assert "for example project_slug=" in done.stderr
    assert list(tmp_path.iterdir()) == []
