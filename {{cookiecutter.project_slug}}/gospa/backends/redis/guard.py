"""Runs the development store, and restarts it if it is killed, until stdin is closed.

A separate program that does not import the application. `devstore.run` starts it with the server's
command, and with the folder of the server's socket, which it removes at the end.
"""

import ctypes
import select
import shutil
import signal
import subprocess
import sys

POLL = 0.1  # seconds between checks that the server runs
END_TIMEOUT = 5.0  # seconds
SET_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


def main(folder: str, command: list[str]) -> None:
    """Run the server; `command` starts it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while _serve(command):
            pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(command: list[str]) -> bool:
    """Run the server; returns whether to run it again."""
    server = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - this program has one thread
    )
    try:
        while server.poll() is None:
            if select.select([sys.stdin], [], [], POLL)[0]:
                return False
    finally:
        server.terminate()
        try:
            server.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    return server.returncode < 0  # otherwise it failed to start


def _end_with_parent() -> None:
    """In the server's process: let Linux kill it when this program ends, even if that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_SIGNAL, signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
