"""Runs the development store, and restarts it if it is killed, until stdin is closed.

A program of its own that imports nothing of the application, started by `devstore.run`.
"""

import select
import signal
import subprocess
import sys

POLL = 0.1  # seconds between checks that the server runs


def main(command: list[str]) -> None:
    """Run the server; `command` starts it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)  # noqa: S603
        try:
            while server.poll() is None:
                if select.select([sys.stdin], [], [], POLL)[0]:
                    return
        finally:
            server.terminate()
            server.wait()
        if server.returncode > 0:
            return  # it could not start


if __name__ == "__main__":
    main(sys.argv[1:])
