"""Pipes between the main process and its workers, so that each notices if the other fails."""

import faulthandler
import fcntl
import os
import struct
import termios
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import NamedTuple

from gospa.workers.unshared import close_in_forks

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

    def begin(self) -> None:
        """Send the first heartbeat; from now on, write stacks if this process crashes or aborts."""
        faulthandler.enable(self.stacks.fileno())
        self.beat()

    def beat(self) -> None:
        """Tell the main process that this worker's event loop runs."""
        with suppress(OSError):  # the main process no longer reads
            os.write(self.beats.fileno(), PID.pack(os.getpid()))


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
