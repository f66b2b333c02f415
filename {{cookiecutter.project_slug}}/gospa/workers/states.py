"""The states of Sanic's workers: kept in the main process, and written by it and by each worker."""

import asyncio
import os
import secrets
import sys
import threading
from multiprocessing.managers import Server, SyncManager
from typing import Any

from sanic import Sanic
from sanic.mixins import startup

from gospa.workers.unshared import close_in_forks

POLL = 0.005  # seconds


class _States(Server):
    """Serves as long as the main process runs: later, workers would wait for each other."""

    listener: Any

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        close_in_forks(self.listener._listener._socket)  # noqa: SLF001 - nothing public has it

    def accepter(self) -> None:
        """Accept connections until the process ends, when Python 3.12 starts no more threads."""
        try:
            super().accepter()
        except RuntimeError:
            if threading.main_thread().is_alive():
                raise

    def handle_request(self, conn: Any) -> None:
        """Answer one connection, in a thread of its own."""
        close_in_forks(conn)
        super().handle_request(conn)


class LocalManager(SyncManager):
    """Keeps the states of Sanic's workers in a thread of the main process.

    Sanic uses a separate process for this, which survives if the main process is killed, and
    whose death breaks the application.
    """

    def __init__(self) -> None:
        # On Linux an abstract socket name, which leaves no file to remove.
        linux = sys.platform == "linux"
        super().__init__(f"\0gospa-{secrets.token_hex(16)}" if linux else None)
        own: Any = self  # uses parts that are not public
        server: Any = _States(own._registry, own._address, own._authkey, "pickle")  # noqa: SLF001
        server.stop_event = threading.Event()
        threading.Thread(target=server.accepter, name="worker states", daemon=True).start()
        self._address = server.address
        self.connect()

    def shutdown(self) -> None:  # type: ignore[override] # there it is an attribute
        """Do nothing: the thread ends with the process."""


def keep_states_here() -> None:
    """Have Sanic use a `LocalManager`."""
    startup.Manager = LocalManager  # the name that `startup` has imported


async def registered(app: Sanic) -> None:
    """Wait until the main process has stored this worker's process id.

    Both processes read the worker's whole state and write it back, so the main process could
    overwrite an earlier report that the worker is ready. Sanic ends an application whose workers do
    not report within 30 s.
    """
    while app.m.state.get("pid") != os.getpid():  # noqa: ASYNC110 - nothing signals it
        await asyncio.sleep(POLL)
