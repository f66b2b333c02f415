"""Replaces workers that died or hang, which Sanic does not do; stops all within a time limit."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from sanic import Sanic
from sanic.log import logger
from sanic.worker.constants import ProcessState

from gospa.stats import STATS
from gospa.workers.heartbeats import Heartbeats
from gospa.workers.lifeline import Lifeline

POLL = 0.25  # seconds
START_TIMEOUT = 2.0  # seconds
STACK_TIMEOUT = 2.0  # seconds for a hanging worker to write its stack
END_TIMEOUT = 3.0  # seconds for the main process to end after its workers
INSIST = 1.0  # seconds after which another Ctrl-C counts as a second one, and kills the workers
DELAYS = (0.5, 30.0)  # seconds before a replacement: the first time, and at most
STEADY = 10.0  # seconds after which the death of a worker is not a failure to start
BEING_STARTED = frozenset({ProcessState.IDLE, ProcessState.RESTARTING, ProcessState.STARTING})
DEAD = frozenset({"FAILED", "COMPLETED"})
FAILED_TO_START = "__TERMINATE_EARLY__"  # how Sanic's workers tell its main process


@dataclass(slots=True)
class _Record:
    """The recent deaths of one worker."""

    alive_since: float
    delay: float = DELAYS[0]
    due: float | None = None


class Supervisor:
    """A thread of the main process that monitors the workers, and stops all on a signal.

    Sanic's own signal handler uses the connection to the workers' states. If the signal arrives
    while the main thread does the same, they read each other's replies, and the stop hangs or
    fails. This thread has its own connection.
    """

    def __init__(
        self, app: Sanic, lifeline: Lifeline, stop_timeout: float, hang_timeout: float
    ) -> None:
        self._manager: Any = app.manager  # uses parts that are not public
        self._lifeline = lifeline
        self._stop_timeout = stop_timeout
        self._heartbeats = Heartbeats(hang_timeout) if hang_timeout else None
        self._records: dict[str, _Record] = {}
        self._signals: SimpleQueue[int | None] = SimpleQueue()  # its `put` is safe in a handler
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start the thread. Call this in the main thread, because it sets signal handlers."""
        self._manager._all_workers_ack = self._all_started  # noqa: SLF001
        self._thread.start()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._on_signal)

    def _all_started(self) -> bool:
        """Whether each worker is ready or was killed; one that was killed is replaced afterwards.

        If another failed, all end. Sanic would wait for either, and end all after 30 s.
        """
        states = self._manager.worker_state
        codes = [
            each.exitcode or 0
            for each in self._manager.transient_processes
            if states[each.name].get("server")
            and states[each.name].get("state") != ProcessState.ACKED.name
        ]
        if any(code > 0 for code in codes):
            self._manager.monitor_publisher.send(FAILED_TO_START)
        return all(code < 0 for code in codes)

    def stop(self) -> None:
        """Return when all workers have ended."""
        self._signals.put(None)
        self._thread.join()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals.put(number)

    def _run(self) -> None:
        while not self._manager._shutting_down:  # noqa: SLF001
            try:
                number = self._signals.get(timeout=POLL)
            except Empty:
                self._look_after_workers()
                continue
            if number is None:
                break  # Sanic ends for another reason
            self._await_starts()
            self._manager.shutdown_signal(number, None)
        deadline = time.monotonic() + self._stop_timeout
        self._stop_workers()
        self._end_workers(deadline)

    def _look_after_workers(self) -> None:
        now = time.monotonic()
        try:
            self.check(now)
            self._log_stacks()
            self._replace_hung(now)
        except Exception:  # any error: the next check may succeed
            logger.exception("the workers could not be checked")

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

    def _replace(self, name: str, record: _Record, now: float) -> None:
        if record.due is None:
            STATS.workers_died += 1
            lived = now - record.alive_since
            record.delay = DELAYS[0] if lived > STEADY else min(record.delay * 2, DELAYS[1])
            record.due = now + record.delay
            text = "%s%s died after %.0f s; replacing it in %.1f s"
            logger.error(text, name, self._how_it_ended(name), lived, record.delay)
        elif now >= record.due:
            record.alive_since, record.due = now, None
            self._manager.monitor_publisher.send(f"{name}:")

    def _how_it_ended(self, name: str) -> str:
        """The process id of a worker that ended, and its exit code or signal, for the log."""
        for process in self._manager.processes:
            if process.name == name and (code := process.exitcode) is not None:
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                return f" (process {process.pid}, {how})"
        return ""

    def _replace_hung(self, now: float) -> None:
        """Kill workers that hang; they are then replaced like others that died."""
        beats = self._lifeline.beats()
        if self._heartbeats is None:
            return
        workers = _children()
        for pid in self._heartbeats.check(now, beats, workers.keys()):
            STATS.workers_hung += 1
            logger.error("worker %s does not answer; it is killed and replaced", pid)
            os.kill(pid, signal.SIGABRT)  # writes its stack, even if it executes no Python
            workers[pid].join(STACK_TIMEOUT)
            self._log_stacks(otherwise="none, so the process is stopped or waits for the kernel")
            workers[pid].kill()

    def _log_stacks(self, otherwise: str = "") -> None:
        if stacks := self._lifeline.stacks() or otherwise:
            logger.error("stacks of a worker that crashed or hangs: %s", stacks)

    def _await_starts(self) -> None:
        """Wait while the main thread starts processes: stopping one meanwhile makes that fail."""
        processes = [*self._manager.transient_processes, *self._manager.durable_processes]
        deadline = time.monotonic() + START_TIMEOUT
        while any(p.state in BEING_STARTED for p in processes) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _stop_workers(self) -> None:
        """Also stop workers that were still starting when Sanic received the signal.

        Sanic would wait forever for these, and for the others to have started:
        https://github.com/sanic-org/sanic/issues/2997
        """
        last = threading.Timer(self._stop_timeout + END_TIMEOUT, _give_up)
        last.daemon = True
        last.start()
        self._lifeline.stop_workers()
        self._manager._all_workers_ack = lambda: True  # noqa: SLF001
        self._manager.shutdown()

    def _end_workers(self, deadline: float) -> None:
        """Wait for the workers to end, and kill those that have not by the deadline."""
        begun = time.monotonic()
        while (children := _children()) and time.monotonic() < deadline:
            with suppress(Empty):
                number = self._signals.get(timeout=0.05)
                if number == signal.SIGINT and time.monotonic() > begun + INSIST:
                    logger.warning("interrupted again: the workers are killed")
                    break
        for pid, child in children.items():
            logger.error("process %s has not stopped in time; it is killed", pid)
            child.kill()


def _children() -> Mapping[int, BaseProcess]:
    """Running child processes, by process id."""
    return {child.pid: child for child in multiprocessing.active_children() if child.pid}


def _give_up() -> None:
    logger.error("the main process has not stopped in time; it is ended")
    for child in _children().values():
        child.kill()
    os._exit(1)
