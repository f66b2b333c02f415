"""Measure what connections, deliveries and commits cost: python -m tests.gospa.fleet.capacity

Two servers of one worker each share a store. Costs are the CPU time and memory of these three
processes, which the load of whatever else the machine does changes little.
"""

import argparse
import asyncio
import contextlib
import os
import resource
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from gospa.settings import Settings
from gospa.testing import until
from tests.gospa.process.server import Server, launch
from tests.gospa.raw_client import RawClient
from tests.gospa.redis_servers import PERSISTENT, RedisServer

IDLE = 2000  # connections
MANY = {
    "GOSPA_CONNECTIONS_PER_ADDRESS": "10000",
    "GOSPA_HANDSHAKES_PER_SECOND": "1e6",
    "GOSPA_REQUESTS_PER_SECOND": "1e6",
    "GOSPA_FRAMES_PER_SECOND": "1e6",
    "GOSPA_FANOUT_PER_SECOND": "1e12",
    "GOSPA_EVENTS_PER_SECOND": "1e9",
}
MEMBERS = 500  # of one room
COMMITS = 10_000
WRITERS = 50  # rooms with a writer on one server and a member on the other
SUBSCRIBERS = 20  # connections that hear a channel
PUBLISHED = 5000  # messages of 200 bytes

Processes = dict[str, int]


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def cost(
    processes: Processes, work: Callable[[], Awaitable[object]], times: int
) -> dict[str, float]:
    """Microseconds of CPU of each process for one of `times` things done by `work`."""
    before = {name: cpu(pid) for name, pid in processes.items()}
    await work()
    return {name: (cpu(pid) - before[name]) / times * 1e6 for name, pid in processes.items()}


@contextlib.asynccontextmanager
async def members(server: Server, rooms: list[str]) -> AsyncIterator[list[RawClient]]:
    """One member for each of the names."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for room in rooms:
            found.append(await stack.enter_async_context(RawClient.connect(server.address)))
            await found[-1].join(room)
        yield found


async def add(member: RawClient, room: str, times: int) -> None:
    for _ in range(times):
        await member.call(room, "add")


async def measure(one: Server, other: Server, processes: Processes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    before = memory(processes["one"])
    async with members(one, [f"sheet/{number // 10}" for number in range(IDLE)]):
        found["memory of a connection, bytes"] = (memory(processes["one"]) - before) // IDLE

    rooms = [f"sheet/w{number}" for number in range(WRITERS)]
    async with members(one, rooms) as writers, members(other, rooms) as readers:
        each = COMMITS // WRITERS

        async def write() -> None:
            writing = [add(m, room, each) for m, room in zip(writers, rooms, strict=True)]
            await asyncio.gather(*writing)
            for room, reader in zip(rooms, readers, strict=True):
                await reader.sees(room, lambda state: state["count"] == each)

        found["CPU of a commit, us"] = await cost(processes, write, COMMITS)

    async with (
        members(one, ["sheet/w"]) as (writer,),
        members(other, ["sheet/w"] * MEMBERS) as all_,
    ):
        drains = [asyncio.create_task(_drain(member)) for member in all_]
        times = 400
        work = await cost(processes, lambda: add(writer, "sheet/w", times), times * MEMBERS)
        found["CPU of a delivery, us"] = work["other"]
        for drain in drains:
            drain.cancel()
        await asyncio.gather(*drains, return_exceptions=True)
    return found


async def measure_redis(redis: RedisServer, pid: int) -> float:
    """Microseconds of CPU for one message to one subscriber."""
    drains = [asyncio.create_task(_listen(redis.port)) for _ in range(SUBSCRIBERS)]

    async def publish() -> None:
        for _ in range(PUBLISHED):  # one by one: messages that come together cost less
            await redis.client.publish("c", bytes(200))

    async def all_listen() -> bool:
        return bool(dict(await redis.client.pubsub_numsub("c"))[b"c"] == SUBSCRIBERS)

    await until(all_listen)
    spent = await cost({"Redis": pid}, publish, PUBLISHED * SUBSCRIBERS)
    for drain in drains:
        drain.cancel()
    await asyncio.gather(*drains, return_exceptions=True)
    return spent["Redis"]


async def _listen(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"SUBSCRIBE c\r\n")
    while await reader.read(2**16):
        pass


async def _drain(member: RawClient) -> None:
    while True:
        await member.websocket.recv()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="capacity-") as folder:
        directory = Path(folder)
        redis = await RedisServer(directory, *PERSISTENT).start()
        settings = Settings(redis_url=f"redis://127.0.0.1:{redis.port}/0")
        try:
            with (
                launch(settings, directory, "--single-process", env=MANY) as one,
                launch(settings, directory, "--single-process", env=MANY) as other,
            ):
                await one.ready()
                await other.ready()
                pid = int((await redis.client.info("server"))["process_id"])
                processes = {"one": one.process.pid, "other": other.process.pid, "Redis": pid}
                for what, value in (await measure(one, other, processes)).items():
                    print(what, value)  # noqa: T201
                spent = await measure_redis(redis, pid)
                print("CPU of Redis for a message to a subscriber, us", spent)  # noqa: T201
        finally:
            await redis.close()


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m tests.gospa.fleet.capacity", description=__doc__
    ).parse_args()
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    asyncio.run(main())
