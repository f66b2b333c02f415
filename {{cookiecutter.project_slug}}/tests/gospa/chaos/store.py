"""A real store, in each of its forms, that can be killed, hung, emptied and failed over."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import RedisCluster

from gospa.store.contract import NO_TAG, Snapshot, channel
from gospa.testing import until
from tests.gospa.chaos.proxy import Proxy
from tests.gospa.redis_servers import PERSISTENT, ClusterServers, RedisServer, Sentinels

PREFIX = "app:"
SETTLE = 90  # seconds; sentinels let a master that came back go on for some


class Store:
    """One server at a time."""

    # Whether who dies may have acknowledged what no replica has yet.
    replicated = False

    def __init__(self, directory: Path, proxy: Proxy) -> None:
        self.exclusive = asyncio.Lock()  # faults that need the server alive, or take it away
        self.client: Any = None
        self.urls: list[str] = []  # of each host
        self._directory = directory
        self._proxy = proxy
        self._server = RedisServer(directory, *PERSISTENT)

    async def start(self, hosts: int) -> None:
        await self._server.start()
        for host in range(hosts):
            side = host if hosts > 1 else None
            front = await self._proxy.front(self._server.port, side)
            self.urls.append(f"redis://127.0.0.1:{front}/0")
        self.client = self._server.client

    async def victim(self, rng: random.Random) -> RedisServer:
        """A server on which the application depends."""
        return self._server

    async def servers(self) -> list[RedisServer]:
        """All that the application depends on."""
        return [self._server]

    async def settled(self) -> bool:
        """Whether all servers do their work again."""
        return True

    async def fail_over(self, behind: float) -> None:
        """Promote a replica that has been cut off for `behind` seconds; its port is another."""
        old, new = self._server, await RedisServer(self._directory, *PERSISTENT).start()
        await new.client.replicaof("127.0.0.1", old.port)
        await until(new.is_replica)
        await new.client.replicaof("NO", "ONE")
        await asyncio.sleep(behind)
        await old.close()
        self._server, self.client = new, new.client
        for front in self._proxy.ports:
            self._proxy.ports[front] = new.port
        self._proxy.cut()

    def key(self, room: str) -> str:
        return PREFIX + channel(room)

    async def head(self, room: str) -> tuple[int, bytes]:
        """Version and tag, from the hash's field `h` (see commit.lua)."""
        head: bytes | None = await self.client.hget(self.key(room), "h")
        return (int.from_bytes(head[1:9]), head[9:]) if head else (0, NO_TAG)

    async def snapshot(self, room: str) -> Snapshot:
        """The whole room; see commit.lua."""
        stored = await self.client.hgetall(self.key(room))
        head = stored.get(b"h", bytes(9) + NO_TAG)
        values, epochs = dict[str, bytes](), dict[str, bytes]()
        for name, raw in stored.items():
            if name[:1] in b".#":
                (values if name[:1] == b"." else epochs)[name[1:].decode()] = raw
        return Snapshot(int.from_bytes(head[1:9]), head[9:], values, epochs)

    async def close(self) -> None:
        await self._server.close()


class SentinelStore(Store):
    """A master and its replica."""

    replicated = True

    def __init__(self, directory: Path, proxy: Proxy) -> None:
        super().__init__(directory, proxy)
        self._sentinels = Sentinels(directory, proxy.front)

    async def start(self, hosts: int) -> None:
        await self._sentinels.start()
        self.urls = hosts * [self._sentinels.url]
        await self._connect()

    async def victim(self, rng: random.Random) -> RedisServer:
        return await self._sentinels.master()

    async def servers(self) -> list[RedisServer]:
        return [await self._sentinels.master()]

    async def settled(self) -> bool:
        if await self._sentinels.settled():
            await self._connect()
            return True
        return False

    async def fail_over(self, behind: float) -> None:
        """Have the replica take over; the old master goes on for `behind` seconds."""
        old = await self._sentinels.master()
        await self._sentinels.fail_over()
        await asyncio.sleep(behind)
        await self._sentinels.demote(old)

    async def close(self) -> None:
        await asyncio.gather(*(server.close() for server in self._sentinels.all))

    async def _connect(self) -> None:
        self.client = (await self._sentinels.master()).client


class ClusterStore(Store):
    """Three primaries with a replica each."""

    replicated = True

    def __init__(self, directory: Path, proxy: Proxy) -> None:
        super().__init__(directory, proxy)
        self._cluster = ClusterServers(directory, proxy.front)

    async def start(self, hosts: int) -> None:
        await self._cluster.start()
        self.urls = hosts * [self._cluster.url]
        direct = {front: server.port for front, server in self._cluster.fronts.items()}
        self.client = RedisCluster(
            "127.0.0.1",
            next(iter(direct)),
            address_remap=lambda address: (address[0], direct.get(address[1], address[1])),
        )

    async def victim(self, rng: random.Random) -> RedisServer:
        return rng.choice(await self._cluster.primaries())

    async def servers(self) -> list[RedisServer]:
        return await self._cluster.primaries()

    async def settled(self) -> bool:
        return await self._cluster.settled()

    async def fail_over(self, behind: float) -> None:
        """Have a replica of any shard take over, without asking its primary for the last writes."""
        replicas: list[RedisServer] = []

        async def some_are() -> bool:  # one that was killed is none for a moment
            replicas[:] = [each for each in self._cluster.servers if await each.is_replica()]
            return bool(replicas)

        await until(some_are)
        await replicas[0].client.execute_command("CLUSTER FAILOVER", "FORCE")

        async def took_over() -> bool:
            return replicas[0] in await self._cluster.primaries()

        await until(took_over)

    async def migrate(self, room: str) -> None:
        await self._cluster.migrate(self.key(room))

    async def close(self) -> None:
        await self.client.aclose()
        await asyncio.gather(*(server.close() for server in self._cluster.all))


STORES: dict[str, type[Store]] = {
    "single": Store,
    "sentinel": SentinelStore,
    "cluster": ClusterStore,
}


@asynccontextmanager
async def run_store(form: str, directory: Path, proxy: Proxy, hosts: int) -> AsyncIterator[Store]:
    store = STORES[form](directory, proxy)
    try:
        await store.start(hosts)
        yield store
    finally:
        await store.close()
