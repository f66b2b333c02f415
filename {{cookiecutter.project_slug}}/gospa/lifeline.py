"""Pipes between the main process and its workers, so that each notices if the other fails."""

import faulthandler
import fcntl
import os
import secrets
import struct
import sys
import termios
import threading
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, Listener
from multiprocessing.managers import Server, SyncManager
from typing import Any, NamedTuple

from sanic.mixins import startup

from gospa.unshared import close_in_forks

PID = COUNT = struct.Struct("=i")
CHUNK = 64 * 1024


class WorkerEnds(NamedTuple):
    """The ends of the pipes that workers have."""

    stop: Connection
    """Becomes readable when the application stops or the main process dies; nobody reads it."""
    beats: Connection
    stacks: Connection

    @property
    def cut(self) -> bool:
        """Whether the other end is closed."""
        unread = fcntl.ioctl(self.stop.fileno(), termios.FIONREAD, bytes(COUNT.size))
        return self.stop.poll() and not any(unread)

    def beat(self) -> None:
        """Tell the main process that this worker's event loop runs."""
        with suppress(OSError):  # the main process no longer reads
            os.write(self.beats.fileno(), PID.pack(os.getpid()))

    def write_stacks(self) -> None:
        """Write this process's stacks to the main process if it crashes or aborts."""
        faulthandler.enable(self.stacks.fileno())


class Lifeline:
    """The main process's ends."""

    _stop: Connection
    _beats: Connection
    _stacks: Connection

    def open(self) -> WorkerEnds:
        """Make the pipes; returns the ends for workers."""
        stop, self._stop = Pipe(duplex=False)
        self._beats, beats = Pipe(duplex=False)
        self._stacks, stacks = Pipe(duplex=False)
        for end in (self._beats, beats, self._stacks, stacks):
            os.set_blocking(end.fileno(), False)
        close_in_forks(self._stop, self._beats, self._stacks)
        return WorkerEnds(stop, beats, stacks)

    def stop_workers(self) -> None:
        """Stop all workers, including one that misses the signal because it is just starting."""
        os.write(self._stop.fileno(), b".")

    def beats(self) -> set[int]:
        """The process ids of the workers that sent a beat since the last call."""
        with suppress(BlockingIOError):
            raw = os.read(self._beats.fileno(), CHUNK - CHUNK % PID.size)
            return {pid for (pid,) in PID.iter_unpack(raw)}
        return set()

    def stacks(self) -> str:
        """The stacks that crashed workers have written since the last call."""
        with suppress(BlockingIOError):
            return os.read(self._stacks.fileno(), CHUNK).decode(errors="replace")
        return ""


class _States(Server):
    """Ends with the main process: otherwise workers would wait for answers from each other."""

    listener: Listener

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        close_in_forks(self.listener)

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
