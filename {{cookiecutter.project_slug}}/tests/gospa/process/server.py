"""Run the application as users do: `sanic app`, in processes of its own."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from gospa.settings import Settings
from gospa.testing import Member, until
from tests.gospa.serving import free_port

PROJECT = Path(__file__).parents[3]
STOP_TIMEOUT = 60  # seconds


class Server:
    """One run of `sanic`; `log` is what it has said so far."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        self.process = process
        self.address = address
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    async def ready(self) -> "Server":
        """Wait until it answers; fails with its log if it ends instead."""

        async def answers() -> bool:
            assert self.process.poll() is None, self.log
            with contextlib.suppress(httpx.TransportError):
                await self.pid()
                return True
            return False

        await until(answers)
        return self

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

        async def enough() -> bool:
            with contextlib.suppress(httpx.TransportError):  # of a worker that dies just now
                seen.add(await self.pid())
            return len(seen) >= count

        await until(enough)
        return seen

    @contextlib.asynccontextmanager
    async def members(self, count: int, **options: Any) -> AsyncIterator[list[Member]]:
        """Clients that are each connected to another worker."""
        async with contextlib.AsyncExitStack() as stack:
            found: dict[int, Member] = {}
            # Workers share a listener very unevenly: those that were found stand still meanwhile.
            async with contextlib.AsyncExitStack() as halted:
                for _ in range(count):
                    member = await stack.enter_async_context(
                        Member.connect(self.address, **options)
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


def state_of(pid: int) -> str:
    """The letter that Linux has for what a process does: `T` stands still, `Z` has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return ""


@contextlib.asynccontextmanager
async def halt(pid: int) -> AsyncIterator[None]:
    """Have a process stand still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: state_of(pid) in ("T", ""))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def launch(
    settings: Settings,
    directory: Path,
    *arguments: str,
    app: str = "tests.gospa.app:app",
    env: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Server]:
    """Start `sanic` with the store and key prefix of `settings`; ends it at the end."""
    port = free_port()
    log = directory / f"sanic-{port}.log"
    environment = {
        **os.environ,
        "REDIS_URL": settings.redis_url,
        "GOSPA_KEY_PREFIX": settings.key_prefix,
        **(env or {}),
    }
    place = (f"--host={host}", f"--port={port}")
    command = [sys.executable, "-m", "sanic", app, *place, "--no-motd", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Server(process, f"{host}:{port}", log)
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
