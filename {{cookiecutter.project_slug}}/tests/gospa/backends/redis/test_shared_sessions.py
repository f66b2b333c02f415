"""Sessions on several workers."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

import app as chosen
from gospa.settings import Settings
from gospa.testing import cookie_of, until
from tests.gospa.process.server import Server, launch_ready
from tests.gospa.raw_client import RawClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # Where messages do not reach other workers, the regular check has to do.
    interval = "3600" if chosen.BACKENDS.pubsub.shared else "0.5"
    with launch_ready(
        shared_settings,
        tmp_path_factory.mktemp("server"),
        "--workers=4",
        env={"GOSPA_SESSION_CHECK_INTERVAL": interval},
    ) as server:
        yield server


@pytest.fixture
async def visitor(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Connection": "close"}  # so that each request may reach another worker
    async with httpx.AsyncClient(base_url=f"http://{server.address}", headers=headers) as client:
        yield client


async def visit(visitor: httpx.AsyncClient) -> tuple[int, int]:
    answer = (await visitor.post("/visit")).json()
    return answer["visits"], answer["pid"]


async def test_what_one_worker_writes_another_reads(visitor: httpx.AsyncClient) -> None:
    counts: list[int] = []
    workers: set[int] = set()

    async def reached_two_workers() -> bool:
        count, pid = await visit(visitor)
        counts.append(count)
        workers.add(pid)
        return len(workers) > 1

    await until(reached_two_workers)
    assert counts == list(range(1, len(counts) + 1))


async def test_a_session_outlives_all_workers(server: Server, visitor: httpx.AsyncClient) -> None:
    assert (await visit(visitor))[0] == 1
    workers = await server.pids(4)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    await server.pids(4)
    count, pid = await visit(visitor)
    assert count == 2
    assert pid not in workers


async def test_a_session_begun_by_a_socket_is_known_to_every_worker(server: Server) -> None:
    async with server.members(1) as (first,):
        cookie = first.cookie
    async with server.members(2, cookie=cookie) as members:
        for member in members:
            assert member.websocket.response is not None
            assert "Set-Cookie" not in member.websocket.response.headers


async def log_in(visitor: httpx.AsyncClient) -> str:
    await visitor.post("/log-in/ann")
    return cookie_of(visitor)


async def close_code(member: RawClient) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        await member.until(lambda _: False)
    return member.websocket.close_code


@pytest.mark.parametrize("path", ["log-out", "log-out-everywhere"])
async def test_a_logout_on_one_worker_ends_sockets_on_all(
    server: Server, visitor: httpx.AsyncClient, path: str
) -> None:
    cookie = await log_in(visitor)
    async with server.members(3, cookie=cookie) as members, server.members(1) as (stranger,):
        for member in members:
            await member.join("users")
        await visitor.post(f"/{path}")
        for member in members:
            assert await close_code(member) == 4502
        await stranger.send(5)
        await stranger.until(lambda message: message[0] == 7)


async def test_a_login_on_one_worker_has_sockets_on_all_come_again(
    server: Server, visitor: httpx.AsyncClient
) -> None:
    cookie = await log_in(visitor)
    async with server.members(3, cookie=cookie) as members:
        assert await log_in(visitor) != cookie
        for member in members:
            assert await close_code(member) == 4001
