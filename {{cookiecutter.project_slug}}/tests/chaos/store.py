"""A real Redis or Valkey that can be killed, hung, emptied and failed over."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis import exceptions
from redis.asyncio import Redis

from server import devstore
from server.state.store import NO_TAG, channel
from tests.serving import free_port
from tests.waiting import until

PREFIX = "app:"


class Store:
    """One server at a time, with an append-only file: a kill loses nothing that was answered."""

    def __init__(self, directory: Path) -> None:
        self.exclusive = asyncio.Lock()  # faults that need the server alive, or take it away
        self.port = 0
        self._directory = directory
        self._numbers = itertools.count()
        self._data = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = None

    async def start_first(self) -> None:
        self.port, self._data, self._process = await self._launch()
        self._connect()

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def start_again(self, *, empty: bool) -> None:
        """After `kill`: on the same port, with its data or without."""
        if empty:
            shutil.rmtree(self._data)
        _, _, self._process = await self._launch(self.port, self._data)

    async def fail_over(self, behind: float) -> None:
        """Promote a replica that has been cut off for `behind` seconds; its port is another."""
        port, data, process = await self._launch()
        replica = Redis(port=port)
        async with replica:
            await replica.replicaof("127.0.0.1", self.port)
            await until(lambda: _is_synchronous(replica))
            await replica.replicaof("NO", "ONE")
        await asyncio.sleep(behind)
        await self.kill()
        await self.client.aclose()
        self.port, self._data, self._process = port, data, process
        self._connect()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def key(self, room: str) -> str:
        return PREFIX + channel(room)

    async def head(self, room: str) -> tuple[int, bytes]:
        version, tag = await self.client.hmget(self.key(room), "v", "t")
        return int(version or 0), tag or NO_TAG

    async def fields(self, room: str) -> dict[str, bytes]:
        stored = await self.client.hgetall(self.key(room))
        return {name[1:].decode(): raw for name, raw in stored.items() if name[:1] == b"."}

    async def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        if self.client:
            await self.client.aclose()

    def _connect(self) -> None:
        self.client = Redis(port=self.port, socket_timeout=10)

    async def _launch(
        self, port: int = 0, data: Path | None = None
    ) -> tuple[int, Path, subprocess.Popen[bytes]]:
        program = devstore.find_server()
        assert program is not None, "install redis-server or valkey-server"
        port = port or free_port()
        data = data or self._directory / f"store-{next(self._numbers)}"
        data.mkdir(exist_ok=True)
        command = [
            *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)),
            *("--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0"),
            *("--logfile", str(data / "server.log")),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
        async with Redis(port=port) as client:
            await until(lambda: _answers(client))
        return port, data, process


async def _answers(client: Any) -> bool:
    with contextlib.suppress(exceptions.ConnectionError, exceptions.BusyLoadingError):
        return bool(await client.ping())
    return False


async def _is_synchronous(replica: Any) -> bool:
    found = await replica.info("replication")
    return bool(found["master_link_status"] == "up")


@asynccontextmanager
async def run_store(directory: Path) -> AsyncIterator[Store]:
    store = Store(directory)
    try:
        await store.start_first()
        yield store
    finally:
        await store.close()
