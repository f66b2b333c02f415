"""Seconds to generate an application, and from its start to its first answer."""

import contextlib
import http.client
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Sample
from bench.peers import OURS, sanic
from bench.processes import HOST, BenchError, free_port
from bench.setting import Setting

ROOT = Path(__file__).parents[2]
PATIENCE = 30  # seconds
# What tools leave in a clone; cookiecutter would take it along.
FOREIGN = shutil.ignore_patterns(
    *(".git", ".bench", ".venv", ".env", ".devstore", "demo", "__pycache__", ".hypothesis"),
    *(".*_cache", "*.egg-info"),
)


def measure(setting: Setting) -> Iterator[Sample]:
    """A project with Redis backends, without git and without network."""
    for number in setting.rounds(3):
        setting.say(f"starting, round {number + 1}")
        with tempfile.TemporaryDirectory() as folder:
            template = shutil.copytree(ROOT, Path(folder) / "template", ignore=FOREIGN)
            began = time.monotonic()
            answers = ("project_slug=measured", "state_backend=redis", "session_backend=redis")
            command = [str(setting.place.python), "-m", "cookiecutter", str(template), "--no-input"]
            place = ["--default-config", "--output-dir", folder]
            subprocess.run([*command, *place, *answers], check=True, capture_output=True)
            generated = time.monotonic() - began
            first = _first_answer(setting, Path(folder) / "measured")
        yield Sample("starting", "generation", "seconds", OURS, number, generated)
        yield Sample("starting", "start to first byte", "seconds", OURS, number, first)


def _first_answer(setting: Setting, project: Path) -> float:
    port = free_port()
    began = time.monotonic()
    env = {"REDIS_URL": setting.place.redis_url, "GOSPA_KEY_PREFIX": "starting:"}
    command = sanic(setting.place, "app", port)
    child = setting.stage.start("starting", command, setting.here, cwd=project, env=env)
    try:
        while time.monotonic() - began < PATIENCE:
            connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
            with contextlib.closing(connection), contextlib.suppress(OSError):
                connection.request("GET", "/health/live")
                connection.getresponse().read()
                return time.monotonic() - began
            time.sleep(0.005)
        raise BenchError("the generated application does not answer")
    finally:
        setting.stage.stop(child)
