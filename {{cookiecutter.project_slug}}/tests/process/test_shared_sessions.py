"""Sessions on several workers."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from server.settings import Settings
from tests.process.server import Server, launch
from tests.waiting import until


@pytest.fixture
async def server(settings: Settings, tmp_path: Path) -> AsyncIterator[Server]:
    with launch(settings, tmp_path, "--workers=4", app="tests.process.visits:app") as server:
        yield await server.ready()


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
