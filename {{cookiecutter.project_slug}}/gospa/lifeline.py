"""What connects the main process with its workers, so that each notices when the other fails."""

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
from multiprocessing.connection import Connection
from multiprocessing.managers import SyncManager
from typing import Any, NamedTuple

from sanic.mixins import startup

PID = COUNT = struct.Struct("=i")
CHUNK = 64 * 1024


class WorkerEnds(NamedTuple):
    """The ends of the pipes that workers have."""

    stop: Connection
    """Can be read once the application stops, or the main process is gone; nobody reads it."""
    beats: Connection
    stacks: Connection

    @property
    def cut(self) -> bool:
        """Whether the other end is closed; false if the start method is fork."""
        unread = fcntl.ioctl(self.stop.fileno(), termios.FIONREAD, bytes(COUNT.size))
        return self.stop.poll() and not any(unread)

    def beat(self) -> None:
        """Tell the main process that this worker's event loop runs."""
        with suppress(OSError):  # it reads no more
            os.write(self.beats.fileno(), PID.pack(os.getpid()))

    def write_stacks(self) -> None:
        """Have the stacks of this process written for the main process if it crashes or aborts."""
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
        return WorkerEnds(stop, beats, stacks)

    def stop_workers(self) -> None:
        """Have each worker stop, also one that misses the signal because it is just starting."""
        os.write(self._stop.fileno(), b".")

    def beats(self) -> set[int]:
        """The process ids of the workers that sent a beat since the last call."""
        with suppress(BlockingIOError):
            raw = os.read(self._beats.fileno(), CHUNK - CHUNK % PID.size)
            return {pid for (pid,) in PID.iter_unpack(raw)}
        return set()

    def stacks(self) -> str:
        """What crashed workers have written since the last call."""
        with suppress(BlockingIOError):
            return os.read(self._stacks.fileno(), CHUNK).decode(errors="replace")
        return ""


class LocalManager(SyncManager):
    """Keeps the states of Sanic's workers in a thread of the main process.

    Sanic has a process of its own for this, which outlives a main process that is killed, and
    without which nothing works.
    """

    def __init__(self) -> None:
        # On Linux a name that is no file: nothing has to be removed.
        linux = sys.platform == "linux"
        super().__init__(f"\0gospa-{secrets.token_hex(16)}" if linux else None)
        server: Any = self.get_server()
        server.stop_event = threading.Event()
        threading.Thread(target=server.accepter, name="worker states", daemon=True).start()
        self._address = server.address
        self.connect()

    def shutdown(self) -> None:  # type: ignore[override] # there it is an attribute
        """Nothing: the thread ends with the process."""


def keep_states_here() -> None:
    """Have Sanic use a `LocalManager`."""
    startup.Manager = LocalManager  # which is imported there
