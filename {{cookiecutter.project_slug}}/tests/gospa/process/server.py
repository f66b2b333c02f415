"""Run the application as users do: `sanic app`, in processes of its own."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from gospa.settings import Settings
from gospa.testing import until
from tests.gospa.raw_client import RawClient
from tests.gospa.serving import free_port

PROJECT = Path(__file__).parents[3]
# Programs that ignore it, such as nohup, have those that they start ignore it, too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

START_TIMEOUT = 120  # seconds, for several processes that all load the application
STOP_TIMEOUT = 60


class Server:
    """One run of `sanic`; `log` is what it has said so far."""

    def __init__(
        self, process: subprocess.Popen[bytes], address: str, log: Path, workers: int = 1
    ) -> None:
        """`workers`: how many it has, at least."""
        self.process = process
        self._workers = workers
        self.address = address
        self.temporary = log.with_suffix(".tmp")
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    async def ready(self) -> "Server":
        """Wait until all workers are ready; fails with its log if it ends instead."""

        async def answers() -> bool:
            assert self.process.poll() is None, self.log
            with contextlib.suppress(httpx.TransportError):
                await self.pid()
                return self.all_ready()
            return False

        await until(answers, START_TIMEOUT)
        return self

    def all_ready(self) -> bool:
        """Whether all workers have told Sanic that they are ready.

        If one dies before that, Sanic ends the application.
        """
        begun = max(self._workers, self.log.count("Starting worker ["))
        return self.log.count("Worker ready [") >= begun

    async def pid(self) -> int:
        """The worker that answers a new HTTP connection."""
        return int((await self.report())["pid"])

    async def report(self) -> dict[str, Any]:
        """What a worker that answers a new HTTP connection says of itself."""
        async with httpx.AsyncClient(base_url=f"http://{self.address}") as client:
            answer = await client.get("/health/ready", headers={"Connection": "close"})
        report: dict[str, Any] = answer.json()
        return report

    async def pids(self, count: int) -> set[int]:
        """Wait until that many workers have answered; returns their process ids."""
        seen: set[int] = set()
        # Workers share a listener very unevenly: those that were found stand still meanwhile.
        async with contextlib.AsyncExitStack() as halted:

            async def enough() -> bool:
                with contextlib.suppress(httpx.TransportError):  # of a worker that dies just now
                    pid = await self.pid()
                    if pid not in seen:
                        seen.add(pid)
                        await halted.enter_async_context(halt(pid))
                return len(seen) >= count

            await until(enough, START_TIMEOUT)
        return seen

    @contextlib.asynccontextmanager
    async def members(self, count: int, **options: Any) -> AsyncIterator[list[RawClient]]:
        """Clients that are each connected to another worker."""
        async with contextlib.AsyncExitStack() as stack:
            found: dict[int, RawClient] = {}
            async with contextlib.AsyncExitStack() as halted:  # see `pids`
                for _ in range(count):
                    member = await stack.enter_async_context(
                        RawClient.connect(self.address, **options)
                    )
                    assert member.pid not in found, "a worker that stands still answered"
                    found[member.pid] = member
                    await halted.enter_async_context(halt(member.pid))
            yield list(found.values())

    def stop(self) -> int:
        """End it as Ctrl-C or an init system would; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT)

    def assert_stops(self) -> None:
        """End it; fails with its log unless that is quick and clean."""
        try:
            code = self.stop()
        except subprocess.TimeoutExpired:
            pytest.fail(f"did not stop:\n{self.log}")
        assert code == 0, self.log

    def left(self) -> list[str]:
        """What is left of this run: its processes, known by their environment, and its files."""
        mark = f"TMPDIR={self.temporary}\0".encode()
        return [
            *(f"process {pid}" for pid in _processes() if mark in _environment(pid)),
            *(path.name for path in self.temporary.iterdir()),
        ]


def _processes() -> list[int]:
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in numbers if state_of(pid) not in ("Z", "")]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
    except OSError:
        return b""


@contextlib.contextmanager
def launch_ready(
    settings: Settings, directory: Path, *arguments: str, **more: Any
) -> Iterator[Server]:
    """Start a server as `launch` does, for tests that each have an event loop of their own."""
    with launch(settings, directory, *arguments, **more) as server:
        yield asyncio.run(server.ready())


def state_of(pid: int) -> str:
    """The letter that Linux has for what a process does: `T` stands still, `Z` has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return ""


@contextlib.asynccontextmanager
async def halt(pid: int) -> AsyncIterator[None]:
    """Have a process stand still, if it has not ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: state_of(pid) in ("T", "Z", ""))
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def launch(  # noqa: PLR0913 - a server has all these
    settings: Settings,
    directory: Path,
    *arguments: str,
    app: str = "tests.gospa.app:app",
    env: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
    cwd: Path = PROJECT,
    front: Sequence[str] = (),
) -> Iterator[Server]:
    """Start `sanic` with the store and key prefix of `settings`; ends it at the end."""
    port = free_port()
    log = directory / f"sanic-{port}.log"
    temporary = log.with_suffix(".tmp")
    temporary.mkdir()
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        "REDIS_URL": settings.redis_url,
        "GOSPA_KEY_PREFIX": settings.key_prefix,
        "GOSPA_DEMO": "true",  # tells which worker answers
        **(env or {}),
    }
    place = (f"--host={host}", f"--port={port}")
    command = [*front, sys.executable, "-m", "sanic", app, *place, "--no-motd", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        option = "--workers="
        workers = [int(each.removeprefix(option)) for each in arguments if option in each]
        yield Server(process, f"{host}:{port}", log, *workers)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what is left of its workers
    process.wait()
