"""The oldest versions of packages that a project asks for are enough."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.baking import APP, CHECKS, assert_succeeds, run
from tests.packages import install

FLOOR = re.compile(r'^ +"([\w-]+(?:\[\w+\])?)>=([\w.]+)', re.MULTILINE)
# What touches the packages most: frames, cookies, each form of Redis.
SUITES = (
    *(
        "tests/gospa/live/test_socket.py",
        "tests/gospa/sessions/test_cookie.py",
        "tests/gospa/backends/redis/test_cluster.py",
    ),
    *(
        "tests/gospa/extras/test_metrics.py",
        "tests/gospa/backends/redis/test_client.py",
        "tests/gospa/backends/redis/test_addresses.py",
    ),
)


@pytest.mark.slow
def test_the_oldest_versions_pass_the_tests_and_the_checks(tree: Path, tmp_path: Path) -> None:
    asked = FLOOR.findall((APP / "pyproject.toml").read_text(encoding="utf-8"))
    assert len(asked) == (APP / "pyproject.toml").read_text(encoding="utf-8").count(",<")
    assert_succeeds((sys.executable, "-m", "venv", str(tmp_path / "oldest")), tmp_path)
    tools = tmp_path / "oldest/bin"
    install(tools / "python", *(f"{name}=={version}" for name, version in asked))
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    for command in (
        ("python", "-m", "pytest", "-q", *SUITES),
        CHECKS["mypy"],
        CHECKS["import contracts"],
    ):
        done = run(command, tree, path)
        assert done.returncode == 0, done.stdout + done.stderr
