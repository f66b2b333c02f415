"""What hostile clients send takes no memory, and nothing from others."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gospa.settings import Settings
from tests.gospa.process.server import Server, launch_ready
from tests.gospa.raw_client import RawClient
from tests.gospa.wire import BINARY, CONT, HELLO, PING, frame, message, open_wire

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

MEMORY = 20_000  # KiB above an idle worker
CLIENTS = 4
ROUNDS = 3  # connections that each of them makes

FLOODS = {
    "pings": HELLO + frame(PING, bytes(125)) * 5000,
    "empty fragments": HELLO + frame(BINARY, fin=False) + frame(CONT, fin=False) * 100_000,
    "frames of 64 KiB": HELLO + message(4, "sheet/a", "x", bytes(65_000)) * 200,
    "half a frame of 64 KiB": HELLO + frame(BINARY, bytes(60_000), length=64 * 1024),
    "pings before HELLO": frame(PING) * 100_000,
}


@pytest.fixture(scope="module")
def server(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with launch_ready(shared_settings, tmp_path_factory.mktemp("server"), "--workers=1") as server:
        yield server


def peak(pid: int) -> int:
    """The most memory that a process had since `forget_peak`, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("there is no VmHWM")


def forget_peak(pid: int) -> None:
    """See clear_refs in https://www.kernel.org/doc/html/latest/filesystems/proc.html"""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")


async def flood(address: str, data: bytes) -> None:
    """Send until the server takes no more."""
    for _ in range(ROUNDS):
        async with open_wire(address) as wire:
            try:
                for start in range(0, len(data), 2**16):
                    wire.writer.write(data[start : start + 2**16])
                    async with asyncio.timeout(1):
                        await wire.writer.drain()
            except (ConnectionError, TimeoutError):
                continue


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_takes_no_memory_and_nothing_from_others(server: Server, what: str) -> None:
    async with RawClient.connect(server.address) as member:
        room = f"sheet/{list(FLOODS).index(what)}"
        await member.join(room)
        await member.call(room, "add")
        forget_peak(member.pid)
        idle = peak(member.pid)
        floods = asyncio.gather(*(flood(server.address, FLOODS[what]) for _ in range(CLIENTS)))
        count = 1
        while not floods.done():
            count += 1
            assert await member.call(room, "add") == count
            await asyncio.wait([floods], timeout=0.01)
        await floods
        taken = peak(member.pid) - idle
        assert taken < MEMORY
        assert server.log.count("Traceback") == 0
