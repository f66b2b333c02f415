"""Real servers of Redis or Valkey: one alone, watched by sentinels, or as a cluster."""

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from redis import exceptions
from redis.asyncio import Redis
from redis.crc import key_slot

from gospa.backends.redis import devstore
from gospa.backends.redis.startup import OLDEST_CLUSTER
from gospa.testing import until
from tests.gospa.process.server import halt
from tests.gospa.serving import free_port

MASTER = "main"  # the name that sentinels know it by
SLOTS = 16384
# Clients may be led to a server by another port than its own, such as a proxy's.
Front = Callable[[int], Awaitable[int]]

_numbers = itertools.count()


async def no_front(port: int) -> int:
    return port


def _program() -> str:
    program = devstore.find_server()
    assert program is not None, "install redis-server or valkey-server"
    return program


class RedisServer:
    """One process on a port of this host, with an append-only file: a kill loses nothing."""

    def __init__(self, directory: Path, *options: str, bind: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.bind = bind
        self.data = directory / f"store-{next(_numbers)}"
        self.data.mkdir()
        self.options = options
        self.client: Any = Redis(port=self.port, socket_timeout=10)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> "RedisServer":
        program = _program()
        # `--sentinel` and a file of settings come first.
        command = [
            *(program, *self.options, "--port", str(self.port), "--bind", self.bind),
            *("--dir", str(self.data), "--logfile", str(self.data / "server.log")),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
        await until(self._answers)
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def halted(self) -> AbstractAsyncContextManager[None]:
        """Have it stand still."""
        assert self._process is not None
        return halt(self._process.pid)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def empty(self) -> None:
        """Forget the data of a server that was killed; a cluster's server stays the same one."""
        for path in self.data.iterdir():
            if path.name.startswith(("appendonly", "dump")):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    async def close(self) -> None:
        self.kill()
        await self.client.aclose()

    async def is_replica(self) -> bool:
        """Whether it follows another server and is up to date."""
        with contextlib.suppress(exceptions.RedisError, OSError):
            found = await self.client.info("replication")
            return bool(found["role"] == "slave" and found["master_link_status"] == "up")
        return False

    async def _answers(self) -> bool:
        with contextlib.suppress(exceptions.ConnectionError, exceptions.BusyLoadingError):
            return bool(await self.client.ping())
        return False


# Each write is in the file before it is answered. With `everysec`, a slow disk may delay it by 2 s.
DURABLE = ("--appendonly", "yes", "--appendfsync", "no", "--save", "")
PERSISTENT = (*DURABLE, "--repl-diskless-sync-delay", "0")


class Sentinels:
    """A master, its replica, and three sentinels that agree on which is which."""

    def __init__(self, directory: Path, front: Front) -> None:
        self.servers = [RedisServer(directory, *PERSISTENT) for _ in range(2)]
        self._directory = directory
        self._front = front
        self._sentinels: list[RedisServer] = []
        self._fronts: dict[int, RedisServer] = {}

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self._sentinels)
        return f"redis+sentinel://{hosts}/{MASTER}/0"

    @property
    def all(self) -> list[RedisServer]:
        return [*self.servers, *self._sentinels]

    async def start(self) -> None:
        for server in self.servers:
            front = await self._front(server.port)
            server.options += ("--replica-announce-port", str(front))
            self._fronts[front] = server
            await server.start()
        first, second = self._fronts
        await self._fronts[second].client.replicaof("127.0.0.1", first)
        await until(self._fronts[second].is_replica)
        for number in range(3):
            settings = self._directory / f"sentinel-{number}.conf"
            settings.write_text(
                f"sentinel monitor {MASTER} 127.0.0.1 {first} 2\n"
                # Long, so that servers that wait for a processor are not replaced meanwhile.
                f"sentinel down-after-milliseconds {MASTER} 5000\n"
                f"sentinel failover-timeout {MASTER} 3000\n"
            )
            sentinel = RedisServer(self._directory, str(settings), "--sentinel")
            self._sentinels.append(await sentinel.start())
        await until(self.settled)

    async def settled(self) -> bool:
        """Whether all sentinels see one master, each other, and its replica in order."""
        masters = set()
        for sentinel in self._sentinels:
            (seen,) = (await sentinel.client.sentinel_masters()).values()
            masters.add(seen["port"])
            if seen["flags"] != "master" or seen["num-other-sentinels"] != 2:
                return False
            replicas = await sentinel.client.sentinel_slaves(MASTER)
            if [replica["flags"] for replica in replicas] != ["slave"]:
                return False
        others = [s for front, s in self._fronts.items() if front not in masters]
        return len(masters) == 1 and all([await other.is_replica() for other in others])

    async def master(self) -> RedisServer:
        _, port = await self._sentinels[0].client.sentinel_get_master_addr_by_name(MASTER)
        return self._fronts[port]

    async def fail_over(self) -> None:
        """Have the replica take over, the master being well."""
        asked = self._sentinels[0].client
        before = await self.master()

        async def replaced() -> bool:
            (seen,) = (await asked.sentinel_masters()).values()
            if self._fronts[seen["port"]] is not before:
                return True  # to ask again now would have it come back
            if "failover_in_progress" not in seen["flags"]:
                with contextlib.suppress(exceptions.ResponseError):  # not yet possible
                    await asked.sentinel_failover(MASTER)
            return False

        await until(replaced)

    async def demote(self, server: RedisServer) -> None:
        """Make a replica of a former master; sentinels would, some seconds later."""
        master = await self.master()
        front = next(front for front, s in self._fronts.items() if s is master)
        await server.client.replicaof("127.0.0.1", front)


class ClusterServers:
    """Six servers: three shards of a primary and a replica each."""

    def __init__(self, directory: Path, front: Front) -> None:
        """Skips the test on a server that is too old for it."""
        said = subprocess.run([_program(), "--version"], capture_output=True, text=True, check=True)
        version = re.findall(r"\d+", said.stdout)[:2]
        if tuple(map(int, version)) < OLDEST_CLUSTER:
            pytest.skip(f"Redis {'.'.join(version)} has no sharded pub/sub, which a cluster needs")
        self._directory = directory
        self.servers = [self._new() for _ in range(6)]
        self.fronts: dict[int, RedisServer] = {}
        self._front = front

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{front}" for front in self.fronts)
        return f"redis+cluster://{hosts}"

    @property
    def all(self) -> list[RedisServer]:
        return self.servers

    async def start(self) -> None:
        for server in self.servers:
            front = await self._front(server.port)
            server.options += ("--cluster-announce-port", str(front))
            self.fronts[front] = server
            await server.start()
        for number, server in enumerate(self.servers):
            await server.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            await self._meet(server)
        for number, server in enumerate(self.servers[:3]):
            span = number * SLOTS // 3, (number + 1) * SLOTS // 3 - 1
            await server.client.execute_command("CLUSTER ADDSLOTSRANGE", *span)
        await until(self._all_known)
        for primary, replica in zip(self.servers[:3], self.servers[3:], strict=True):
            name = await primary.client.execute_command("CLUSTER MYID")
            await replica.client.execute_command("CLUSTER REPLICATE", name)
        await until(self.settled)

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[None]:
        """Close the connections that are opened to the servers here."""
        try:
            yield
        finally:
            await asyncio.gather(*(server.client.aclose() for server in self.servers))

    @asynccontextmanager
    async def newcomer(self) -> AsyncIterator[RedisServer]:
        """One more server, which has no slots, for a while."""
        server = await self._new().start()
        try:
            await self._meet(server)
            everybody = [*self.servers, server]
            names = [await s.client.execute_command("CLUSTER MYID") for s in everybody]

            async def belongs() -> bool:
                views = [str(await s.client.execute_command("CLUSTER NODES")) for s in everybody]
                info = await server.client.execute_command("CLUSTER INFO")
                known = all(name.decode() in view for name in names for view in views)
                return known and info["cluster_state"] == "ok"

            await until(belongs)
            yield server
        finally:
            await server.close()
        for other in self.servers:
            await other.client.execute_command("CLUSTER FORGET", names[-1])

    def _new(self) -> RedisServer:
        return RedisServer(
            *(self._directory, *PERSISTENT, "--cluster-enabled", "yes"),
            *("--cluster-node-timeout", "1000", "--cluster-port", str(free_port())),
            *("--cluster-require-full-coverage", "no"),
        )

    async def _meet(self, server: RedisServer) -> None:
        bus = (await server.client.config_get("cluster-port"))["cluster-port"]
        meet = ("CLUSTER MEET", "127.0.0.1", server.port, bus)
        await self.servers[0].client.execute_command(*meet)

    async def _all_known(self) -> bool:
        infos = [await server.client.execute_command("CLUSTER INFO") for server in self.servers]
        return all(info["cluster_known_nodes"] == "6" for info in infos)

    async def settled(self) -> bool:
        """Whether all slots are served, all agree by whom, and each primary has its replica."""
        views = set()
        for server in self.servers:
            try:
                info = await server.client.execute_command("CLUSTER INFO")
                views.add(str(sorted((await _slots(server)).items())))
            except (exceptions.RedisError, OSError):
                return False
            if info["cluster_state"] != "ok" or info["cluster_slots_ok"] != str(SLOTS):
                return False
            if info["cluster_slots_pfail"] != "0":
                return False
        replicas = [await server.is_replica() for server in self.servers]
        return len(views) == 1 and replicas.count(True) == 3

    async def primaries(self) -> list[RedisServer]:
        slots = await _slots(await self._any())
        return [self.fronts[port] for port in sorted(set(slots.values()))]

    async def _any(self) -> RedisServer:
        """A server that runs."""
        return next(server for server in self.servers if server.runs)

    async def owner(self, key: str) -> RedisServer:
        """The primary that has a key's slot."""
        slot = key_slot(key.encode())
        slots = await _slots(await self._any())
        return next(self.fronts[port] for (a, z), port in slots.items() if a <= slot <= z)

    async def replica(self, primary: RedisServer) -> RedisServer:
        """The server that follows a primary."""
        name = await primary.client.execute_command("CLUSTER MYID")
        (address,) = await primary.client.execute_command("CLUSTER REPLICAS", name)
        return self.fronts[int(address.partition(":")[2])]

    async def migrate(self, key: str) -> None:
        """Move a key's slot with all its keys to another shard, as `redis-cli` does."""
        source, slot = await self.owner(key), key_slot(key.encode())
        target = next(server for server in await self.primaries() if server is not source)
        names = {s: await s.client.execute_command("CLUSTER MYID") for s in (source, target)}
        set_slot = "CLUSTER SETSLOT", slot
        await target.client.execute_command(*set_slot, "IMPORTING", names[source])
        await source.client.execute_command(*set_slot, "MIGRATING", names[target])
        while keys := await source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
            address = ("127.0.0.1", target.port, "", 0, 5000, "KEYS")
            await source.client.execute_command("MIGRATE", *address, *keys)
        for server in (target, source):
            await server.client.execute_command(*set_slot, "NODE", names[target])

        async def told() -> bool:
            return await self.owner(key) is target

        await until(told)


async def _slots(server: RedisServer) -> dict[tuple[int, int], int]:
    """The port of the primary of each span of slots."""
    found = await server.client.execute_command("CLUSTER SLOTS")
    return {(first, last): primary[1] for first, last, primary, *_ in found}


Servers = TypeVar("Servers", Sentinels, ClusterServers)


@contextmanager
def started(servers: Servers) -> Iterator[Servers]:
    """Start them for tests that each have an event loop of their own."""

    async def start() -> None:
        await servers.start()
        await asyncio.gather(*(server.client.aclose() for server in servers.all))

    try:
        asyncio.run(start())
        yield servers
    finally:
        for server in servers.all:
            server.kill()


@asynccontextmanager
async def running(servers: Servers) -> AsyncIterator[Servers]:
    """Start them; yields them when they are ready to serve."""
    try:
        await servers.start()
        yield servers
    finally:
        await asyncio.gather(*(server.close() for server in servers.all))
