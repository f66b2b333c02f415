"""The commands say what they do, what is wrong and what helps, before anything slow."""

import argparse
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tasks
from environments import TaskError, pinned
from tests import left_out
from tests.baking import ROOT, bake
from tests.browsing import free_port

# Stands in for the server: is alive on its port, and ends as it is told.
SERVER = """#!{python}
import http.server, signal, sys
port = int(sys.argv[-1].partition("=")[2])
signal.signal(signal.SIGTERM, {on_term})
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health/live" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


def environment(folder: Path, needed: set[str]) -> Path:
    """A virtual environment that has these requirements, as far as tasks.py can tell."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to(sys.executable)
    (folder / "installed.txt").write_text("\n".join(sorted(needed)))
    return folder


@contextmanager
def serving(venv: Path, on_term: str) -> Iterator[subprocess.Popen[str]]:
    """A run of `tasks.serve` on a stand-in server that is up."""
    sanic = environment(venv, set()) / "bin/sanic"
    sanic.write_text(SERVER.format(python=sys.executable, on_term=on_term))
    sanic.chmod(0o755)
    options = f"types.SimpleNamespace(port={free_port()}, workers=1)"
    code = (
        f"import sys, types, pathlib, tasks; tasks.VENV = pathlib.Path({str(venv)!r}); "
        f"sys.exit(tasks.serve(pathlib.Path('.'), {options}))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command,
        cwd=venv,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        assert running.stdout is not None
        try:
            for line in running.stdout:
                if "The demo is at http://127.0.0.1:" in line:
                    break
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("task", [[], ["demo"], ["test"], ["snapshots"], ["mutate"], ["lock"]])
def test_help(task: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        tasks.main([*task, "--help"])
    assert "usage: tasks.py" in capsys.readouterr().out


def test_bench_has_options_of_its_own() -> None:
    command = [sys.executable, str(ROOT / "tasks.py"), "bench", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "usage: bench" in said
    assert "--quick" in said


@pytest.mark.parametrize(
    "arguments",
    [[], ["serve"], ["demo", "--prot", "1"], ["demo", "--port", "0"], ["demo", "--port", "70000"]],
)
def test_unknown_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        tasks.main(arguments)
    assert "error: " in capsys.readouterr().err


def test_taken_port_is_said_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind((tasks.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        assert tasks.main(["demo", "--port", str(port), "--output", str(tmp_path / "demo")]) == 1
    said = capsys.readouterr()
    assert f"port {port} is taken" in said.err
    assert f"--port {port + 1}" in said.err
    assert list(tmp_path.iterdir()) == []


def test_an_application_that_is_there_is_not_made_again(
    template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = bake(template, tmp_path, {"project_slug": tasks.DEMO_SLUG})
    (project / "app.py").write_text("# mine\n")
    monkeypatch.setattr(tasks, "VENV", environment(tmp_path / "venv", pinned(tasks.LOCKS[""])))
    monkeypatch.setattr(tasks, "serve", lambda *_: 7)
    assert tasks.main(["demo", "--port", str(free_port()), "--output", str(tmp_path)]) == 7
    assert "--fresh generates it again" in capsys.readouterr().out
    assert (project / "app.py").read_text() == "# mine\n"


def test_interrupted_generation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str, *command: str | Path) -> None:
        output = Path(command[command.index("--output-dir") + 1])
        (output / tasks.DEMO_SLUG).mkdir()
        (output / tasks.DEMO_SLUG / "app.py").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "install", lambda *_: sys.executable)
    monkeypatch.setattr(tasks, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tasks.generate(tmp_path / "demo" / tasks.DEMO_SLUG, options())
    assert list((tmp_path / "demo").iterdir()) == []


def test_generation_refuses_a_place_that_is_taken_or_closed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TaskError, match="--output"):
        tasks.generate(tmp_path / "file", options())
    with (
        pytest.raises(TaskError, match="Use --output"),
        tasks.folder_beside(tmp_path / "file/demo"),
    ):
        pass


def test_missing_programs_and_how_to_have_them_are_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tasks, "BROWSERS", ("chromium",))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "browsers"))
    (tmp_path / "npm").touch(mode=0o755)
    (tmp_path / "nginx").touch(mode=0o755)
    tasks.say_what_is_missing()
    said = capsys.readouterr().out
    assert said.startswith("There is no Chromium and no Chrome. Left out: tests/test_browser*.py")
    for command in ("apt install chromium", "dnf install chromium", "brew install chromium"):
        assert command in said
    (tmp_path / "dnf").touch(mode=0o755)
    assert tasks.installers("npm") == ["dnf install npm"]
    (tmp_path / "browsers/chromium-1").mkdir(parents=True)
    tasks.say_what_is_missing()
    assert capsys.readouterr().out == ""


def test_tests_that_need_a_browser_are_those_named() -> None:
    for name in re.findall(r"test_[\w*]+\.py", tasks.NEED_BROWSER):
        assert list((ROOT / "tests").glob(name)), name


@pytest.mark.parametrize(
    ("reports", "line"),
    [
        ([], ""),
        (["Skipped: there is no Chromium: install it, or"] * 2, "2 (there is no Chromium: apt"),
        (["Skipped: not today"], "Not tested: 1 (not today)."),
    ],
)
def test_the_last_line_names_what_was_not_tested(reports: list[str], line: str) -> None:
    found = [types.SimpleNamespace(longrepr=("file.py", 1, text)) for text in reports]
    assert line in left_out.left_out(found)
    assert bool(left_out.left_out(found)) == bool(reports)


def test_the_last_line_comes_after_the_summary(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n\ndef test_it():\n    pytest.skip('no')\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.left_out", "-n1", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "Not tested: 1 (no)."


def test_first_signal_is_passed_on_and_so_is_the_exit_code(tmp_path: Path) -> None:
    with serving(tmp_path, "lambda *_: sys.exit(3)") as running:
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 3


def test_second_signal_ends_a_server_that_does_not_listen(tmp_path: Path) -> None:
    ignore = 'lambda *_: print("heard", flush=True)'
    with serving(tmp_path, ignore) as running:
        assert running.stdout is not None
        running.send_signal(signal.SIGTERM)
        assert any("heard" in line for line in running.stdout)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 128 + signal.SIGKILL


def options(*arguments: str) -> argparse.Namespace:
    return tasks.make_parser().parse_args(["demo", *arguments])


@pytest.mark.parametrize("arguments", [["--workers=0"], ["--workers=-1"], ["--port=0"]])
def test_numbers_that_serve_nothing_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        options(*arguments)


def test_a_folder_that_is_not_ours_is_never_removed(tmp_path: Path) -> None:
    kept = tmp_path / tasks.DEMO_SLUG / "important"
    kept.parent.mkdir()
    kept.touch()
    with pytest.raises(TaskError, match="not one of our demos"):
        tasks.demo(options("--fresh", f"--output={tmp_path}", f"--port={free_port()}"))
    assert kept.exists()


def test_a_demo_that_runs_is_not_removed(tmp_path: Path) -> None:
    project = tmp_path / tasks.DEMO_SLUG
    for name in ("gospa/app.py", ".devstore/lock"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    with (project / ".devstore/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TaskError, match="is running"):
            tasks.remove(project)
    assert project.exists()
    tasks.remove(project)
    assert not project.exists()


def test_backends_asked_for_have_to_be_those_there(tmp_path: Path) -> None:
    app = (
        "from gospa.backends.memory.state import STATE\n"
        "from gospa.backends.redis.storage import STORAGE\n"
    )
    (tmp_path / "app.py").write_text(app)
    tasks.check_backends(tmp_path, options())
    tasks.check_backends(tmp_path, options("--state-backend=memory", "--session-backend=redis"))
    with pytest.raises(TaskError, match="--fresh"):
        tasks.check_backends(tmp_path, options("--state-backend=redis"))
    assert tasks.default_workers(tmp_path) == 1
    (tmp_path / "app.py").write_text(app.replace("memory", "redis"))
    assert tasks.default_workers(tmp_path) == 4
