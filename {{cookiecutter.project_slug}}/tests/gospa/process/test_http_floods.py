"""What hostile HTTP clients send takes no memory, and nothing from others at the same address."""

import asyncio
import contextlib
from collections.abc import Iterator

import httpx
import pytest

from gospa.settings import Settings
from gospa.testing import until
from tests.gospa.process.server import Server, launch_ready
from tests.gospa.process.test_floods import forget_peak, peak
from tests.gospa.process.test_floods import pytestmark as of_floods
from tests.gospa.raw_client import RawClient

pytestmark = [
    *of_floods,
    # asyncio may leave the socket of a connection that the server reset to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MEMORY = 20_000  # KiB above an idle worker
HOLDERS = 600  # clients that do not finish a body of 244 KiB
HELD = 80_000  # KiB that they may take
CLIENTS = 4
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'


def post(body: bytes, kind: str, size: int | None = None) -> bytes:
    size = len(body) if size is None else size
    head = (
        f"POST /form HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode()


FLOODS = {
    "a form of 20 MB": post(b"a=1&" * 5_000_000, URLENCODED),
    "a multipart form of 20 MB": post(PART * 400_000 + b"--x--\r\n", MULTIPART),
    "60,000 fields": post(b"a=1&" * 60_000, URLENCODED) * 20,
    "parts of many headers": post(b"--x\r\n" + b"a:\r\n" * 60_000 + b"\r\n--x--", MULTIPART) * 20,
    "pipelined metrics": get("/health/metrics") * 1000,
    "pipelined errors": get("/nothing", "Accept: " + "a/b," * 1500) * 500,
    "a body of chunks": get("/", "Transfer-Encoding: chunked") + b"1\r\na\r\n" * 50_000,
    "unreadable forms": post(b"a", "multipart/form-data; boundary=") * 500,
}


@pytest.fixture(scope="module")
def server(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    # The visitor's rate is not at stake here.
    limits = {"GOSPA_REQUESTS_PER_SECOND": "100000", "GOSPA_REQUEST_TIMEOUT": "40"}
    with launch_ready(shared_settings, folder, "--workers=1", env=limits) as server:
        yield server


def visitor_of(server: Server) -> httpx.AsyncClient:
    """A visitor with the patience of tests."""
    return httpx.AsyncClient(base_url=f"http://{server.address}", timeout=40)


async def abort(writer: asyncio.StreamWriter) -> None:
    """End a connection, and wait until it is: else its socket may outlive the test's event loop."""
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def send(address: str, data: bytes) -> None:
    """Send it, and read the answers until there are no more."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def read() -> None:
        while await reader.read(2**16):
            pass

    reading = asyncio.ensure_future(read())
    with contextlib.suppress(ConnectionError, TimeoutError):
        for start in range(0, len(data), 2**16):
            writer.write(data[start : start + 2**16])
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    with contextlib.suppress(ConnectionError):
        await reading
    await abort(writer)


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_takes_no_memory_and_nothing_from_others(server: Server, what: str) -> None:
    async with RawClient.connect(server.address) as member:
        room, before = f"sheet/{list(FLOODS).index(what)}", len(server.log)
        await member.join(room)
        await member.call(room, "add")
        forget_peak(member.pid)
        idle = peak(member.pid)
        floods = asyncio.gather(*(send(server.address, FLOODS[what]) for _ in range(CLIENTS)))
        count = 1
        async with visitor_of(server) as visitor:
            while not floods.done():
                count += 1
                assert await member.call(room, "add") == count
                assert (await visitor.get("/")).status_code == 200
                await asyncio.wait([floods], timeout=0.01)
        await floods
        taken = peak(member.pid) - idle
        assert taken < MEMORY
        for complaint in ("Failed when parsing form", "body not consumed", "uncaught"):
            assert complaint not in server.log
        assert server.log[before:].count(" was refused: ") <= 2  # once for each reason


async def test_unfinished_bodies_take_bounded_memory_and_go(server: Server) -> None:
    held: list[asyncio.StreamWriter] = []
    async with RawClient.connect(server.address) as member, visitor_of(server) as visitor:

        async def taken(size: int) -> bool:
            answer = await visitor.post("/whoami", content=bytes(size))
            assert answer.status_code in (200, 429)
            return answer.status_code == 200

        forget_peak(member.pid)
        idle = peak(member.pid)
        for _ in range(HOLDERS):
            held.append(await hold_body(server.address))
            assert (await visitor.get("/")).status_code == 200
        assert peak(member.pid) - idle < HELD
        for writer in held:
            await abort(writer)
        await until(lambda: taken(256 * 1024))


async def hold_body(address: str) -> asyncio.StreamWriter:
    """Send all of a body but its end."""
    host, _, port = address.partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(post(bytes(250_000), URLENCODED, 256 * 1024))
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    return writer
