"""Replaces workers that died, which Sanic does not do; stops workers without a main process."""

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from sanic import Sanic
from sanic.log import logger
from sanic.worker.constants import ProcessState

POLL = 0.25  # seconds
FOLLOW = 1.0  # seconds
START_TIMEOUT = 2.0  # seconds
DELAYS = (0.5, 30.0)  # seconds before a replacement: the first time, and at most
STEADY = 10.0  # a worker that lived this long is not failing at its start
BEING_STARTED = frozenset({ProcessState.IDLE, ProcessState.RESTARTING, ProcessState.STARTING})
DEAD = frozenset({"FAILED", "COMPLETED"})


@dataclass(slots=True)
class _Record:
    """The recent deaths of one worker."""

    alive_since: float
    delay: float = DELAYS[0]
    due: float | None = None


class Supervisor:
    """A thread of the main process that restarts dead workers, and stops all on a signal.

    Sanic's own signal handler talks to the process that keeps the workers' states. If the signal
    arrives while the main thread does the same, they read each other's replies, and the stop hangs
    or fails. This thread has a connection of its own.
    """

    def __init__(self, app: Sanic, stopping: Event) -> None:
        self._manager: Any = app.manager  # much of what is needed of it is not public
        self._stopping = stopping
        self._records: dict[str, _Record] = {}
        self._signals: SimpleQueue[int | None] = SimpleQueue()  # its `put` is safe in a handler
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Call this in the main thread: only there can signal handlers be set."""
        self._thread.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def stop(self) -> None:
        self._signals.put(None)
        self._thread.join()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._thread.is_alive():
            self._signals.put(number)
        else:
            self._manager.shutdown_signal(number, frame)

    def _run(self) -> None:
        # On an error the process that shares the workers' states ends, and the application with it.
        with suppress(ConnectionError, EOFError):
            while True:
                with suppress(Empty):
                    number = self._signals.get(timeout=POLL)
                    if number is None:
                        return
                    self._await_starts()
                    self._manager.shutdown_signal(number, None)
                if self._manager._shutting_down:  # noqa: SLF001
                    self._finish()
                else:
                    self.check(time.monotonic())

    def check(self, now: float) -> None:
        """Replace workers whose state is dead; `now` is monotonic time in seconds."""
        for name, state in self._manager.worker_state.items():
            if not state.get("server"):
                continue
            record = self._records.setdefault(name, _Record(alive_since=now))
            if state.get("state") in DEAD:
                self._replace(name, record, now)
            else:
                record.due = None

    def _await_starts(self) -> None:
        """Wait while the main thread starts processes: it fails if one is stopped just then."""
        processes = [*self._manager.transient_processes, *self._manager.durable_processes]
        deadline = time.monotonic() + START_TIMEOUT
        while any(p.state in BEING_STARTED for p in processes) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _finish(self) -> None:
        """Stop workers that were still starting when Sanic received the signal.

        Sanic would wait for ever for these, and for the others to have started:
        https://github.com/sanic-org/sanic/issues/2997
        """
        self._stopping.set()
        self._manager._all_workers_ack = lambda: True  # noqa: SLF001
        self._manager.shutdown()

    def _replace(self, name: str, record: _Record, now: float) -> None:
        if record.due is None:
            lived = now - record.alive_since
            record.delay = DELAYS[0] if lived > STEADY else min(record.delay * 2, DELAYS[1])
            record.due = now + record.delay
            logger.error("%s died after %.0f s; replacing it in %.1f s", name, lived, record.delay)
        elif now >= record.due:
            record.alive_since, record.due = now, None
            self._manager.monitor_publisher.send(f"{name}:")


async def follow(app: Sanic, stopping: Event) -> None:
    """In a worker: stop when the main process stops or is gone.

    The main process sends a signal, but a worker that is starting can miss it.
    """
    parent = os.getppid()
    while True:
        await asyncio.sleep(FOLLOW)
        orphaned = os.getppid() != parent
        if orphaned:
            logger.error("the main process is gone; this worker stops")
        if orphaned or stopping.is_set():
            app.stop(terminate=False)
