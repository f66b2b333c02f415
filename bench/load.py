"""Drives the load client, a process of its own on another core (load.c)."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import BenchError, Child, Stage


@dataclass(frozen=True, slots=True)
class Run:
    """What the load client saw of one run; times in seconds unless named otherwise."""

    seconds: float
    cpu_s: float
    messages: int
    deliveries: int
    answers: int
    bytes: int
    reads: int
    others: int
    disorder: int
    missing: int
    closed: int
    overloaded: int
    p50_us: float
    p99_us: float

    def check(self, what: str) -> None:
        """Raise BenchError unless every message arrived once and in order."""
        if self.disorder or self.missing or self.closed:
            raise BenchError(
                f"{what}: {self.missing} messages did not arrive, {self.disorder} came out of "
                f"order or twice, {self.closed} connections were closed"
            )


@dataclass(frozen=True, slots=True)
class Speech:
    """What clients say to a server, and what they take for its answers."""

    request: bytes
    opening: bytes = b""
    ready: bytes = b""
    call: bytes = b""
    answer: bytes = b""
    joined: bool = False
    """Whether a frame may hold several messages; else answers are frames that begin so."""


class Load:
    """Many connections to one server, all of them ready."""

    def __init__(self, child: Child, folder: Path, clients: int) -> None:
        self.clients = clients
        self._child = child
        self._folder = folder
        self.joined: dict[str, float] = self._answer()

    def run(self, seconds: float, *, window: int = 0, rate: float = 0, command: bytes = b"") -> Run:
        """Publish `command`, `window` at a time or at a `rate`; or let clients call."""
        path = "-"
        if command:
            file = self._folder / "command"
            file.write_bytes(command)
            path = str(file)
        assert self._child.process.stdin is not None  # noqa: S101 - it talks
        self._child.process.stdin.write(f"{seconds} {window} {rate} {path}\n")
        self._child.process.stdin.flush()
        return Run(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._child.process.stdout is not None  # noqa: S101 - it talks
        line = self._child.process.stdout.readline()
        if not line:
            raise BenchError(self._child.log.read_text().strip()[-500:] or "the load client ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


class LoadClient:
    """Opens connections, on cores that what is measured does not use."""

    def __init__(self, stage: Stage, binary: Path, folder: Path, on: set[int]) -> None:
        self._stage = stage
        self._binary = binary
        self._folder = folder
        self._on = on

    @contextmanager
    def connect(
        self, port: int, clients: int, speech: Speech, *, redis: int = 0, **options: int
    ) -> Iterator[Load]:
        """Open `clients` connections; `redis` is the port to publish at."""
        self._folder.mkdir(parents=True, exist_ok=True)
        files = []
        for name in ("request", "opening", "ready", "call", "answer"):
            path = self._folder / name
            path.write_bytes(getattr(speech, name))
            files += [name, str(path)]
        numbers = {"port": port, "clients": clients, "redis": redis, **options}
        numbers["joined"] = int(speech.joined)
        arguments = [str(part) for pair in numbers.items() for part in pair]
        child = self._stage.start("load", [self._binary, *files, *arguments], self._on, talks=True)
        try:
            yield Load(child, self._folder, clients)
        finally:
            self._stage.stop(child)
