"""Processes that are measured or that measure: each pinned to cores, none left behind."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
STOP_TIMEOUT = 3  # seconds
START_TIMEOUT = 30  # seconds
PAGE = os.sysconf("SC_PAGE_SIZE")


class BenchError(Exception):
    """A measurement that cannot be made; the text says why."""


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def cores() -> tuple[set[int], set[int]]:
    """Cores for what is measured, and for what measures; the same one if there is no other."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


class Child:
    """A process and all that it starts."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log

    def pids(self) -> list[int]:
        """Its process id and those of its descendants."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += map(int, children.read_text().split())
        return found

    def cpu(self) -> float:
        """Seconds that its threads ran so far."""
        total = 0
        for pid in self.pids():
            for spent in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    total += int(spent.read_text().split()[0])
        return total / 1e9

    def resident(self) -> int:
        """Bytes of memory that it has."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        return total

    def peak(self) -> int:
        """The most bytes that its processes had, each at its own moment."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        total += int(line.split()[1]) * 1024
        return total

    def await_port(self, port: int) -> None:
        """Wait until it listens. Raises BenchError with its log if it ends instead."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{self.log.stem} does not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it and all that it started."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


class Stage:
    """Starts processes, and ends them all when it is left."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        """Make a place for logs."""
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End what still runs."""
        for child in self._children:
            child.stop()

    def start(  # noqa: PLR0913 - what there is to say about a process
        self,
        name: str,
        command: Sequence[str | Path],
        on: set[int],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        talks: bool = False,
    ) -> Child:
        """Start a process on some cores; if it `talks`, by pipes, else into a log."""
        log = self._logs / f"{name}.log"
        with log.open("w") as output, _on(on):
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        child = Child(process, log)
        self._children.append(child)
        return child

    def stop(self, child: Child) -> None:
        """End one process."""
        self._children.remove(child)
        child.stop()


@contextlib.contextmanager
def _on(wanted: set[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
