"""The end of an application: orderly at each signal, in time, and complete however it comes."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gospa.settings import Settings
from gospa.testing import until
from tests.gospa.process.server import STOP_TIMEOUT, Server, halt, launch
from tests.gospa.process.stuck_start import STUCK

pytestmark = pytest.mark.slow

SOON = {"GOSPA_STOP_TIMEOUT": "2"}


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[Server]:
    with launch(settings, tmp_path, "--workers=2", env=SOON) as server:
        yield server


@contextlib.asynccontextmanager
async def spinning(server: Server) -> AsyncIterator[None]:
    """Have a worker do nothing but compute, for ever."""
    host, port = server.address.split(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET /spin HTTP/1.1\r\nHost: {server.address}\r\n\r\n".encode())
    await writer.drain()
    waiting = asyncio.ensure_future(reader.read())
    try:
        await until(lambda: "computes for ever" in server.log)
        yield
    finally:
        waiting.cancel()
        writer.close()


async def nothing_is_left(server: Server) -> None:
    await until(lambda: server.process.poll() is not None)
    await until(lambda: not server.left())


async def test_the_start_is_interrupted_at_once_while_it_waits_for_a_slow_store(
    settings: Settings, tmp_path: Path
) -> None:
    if not settings.redis_url:
        pytest.skip("nothing is waited for")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        env = {"REDIS_URL": f"redis://127.0.0.1:{mute.getsockname()[1]}"}
        env["GOSPA_STORE_TIMEOUT"] = "8.9"
        with launch(settings, tmp_path, "--workers=2", env=env) as server:
            asked, _ = await asyncio.to_thread(mute.accept)
            os.killpg(server.process.pid, signal.SIGINT)
            await until(lambda: server.process.poll() is not None)
            assert asked.recv(1)  # the store was asked, and did not answer
            asked.close()
            assert server.process.returncode == 130
            assert "interrupted while starting" in server.log
            assert "cannot start" not in server.log  # as it is said once the store was waited for
            assert "Traceback" not in server.log
            await nothing_is_left(server)


async def test_a_worker_that_stands_still_is_killed_in_time(server: Server) -> None:
    await server.ready()
    pids = await server.pids(2)
    async with server.members(1) as (member,), halt((pids - {member.pid}).pop()):
        server.process.send_signal(signal.SIGTERM)
        bye = await member.until(lambda message: message[0] == 6)  # the other one stops in order
        assert bye[1] == 1012
        assert server.process.wait(STOP_TIMEOUT) == 0, server.log
    assert "has not stopped in time; it is killed" in server.log
    await nothing_is_left(server)


@pytest.mark.parametrize("arguments", [["--workers=2"], ["--single-process"]], ids=" ".join)
async def test_a_worker_that_computes_for_ever_is_killed_in_time(
    settings: Settings, tmp_path: Path, arguments: list[str]
) -> None:
    with launch(settings, tmp_path, *arguments, env=SOON) as server:
        await server.ready()
        async with spinning(server):
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(STOP_TIMEOUT)
        await nothing_is_left(server)


async def test_when_the_main_process_is_killed_a_worker_that_computes_for_ever_ends(
    server: Server,
) -> None:
    await server.ready()
    async with spinning(server):
        server.process.kill()
        await nothing_is_left(server)


@pytest.mark.parametrize("group", [False, True], ids=["main process", "whole group"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
async def test_each_signal_is_an_orderly_stop_once_or_twice(
    server: Server, name: str, *, group: bool
) -> None:
    await server.ready()
    await server.pids(2)
    send = os.killpg if group else os.kill
    async with server.members(2) as members:
        for _ in range(2):  # as of process managers that signal the group and its leader
            send(server.process.pid, signal.Signals[name])
        for member in members:
            assert (await member.until(lambda message: message[0] == 6))[1] == 1012
    assert server.process.wait(STOP_TIMEOUT) == 0, server.log
    assert "Traceback" not in server.log
    await nothing_is_left(server)


async def test_when_the_main_process_is_killed_clients_are_told_and_nothing_is_left(
    server: Server,
) -> None:
    await server.ready()
    await server.pids(2)
    async with server.members(2) as members:
        server.process.kill()
        for member in members:
            assert (await member.until(lambda message: message[0] == 6))[1] == 1012
    await nothing_is_left(server)
    assert "the main process is gone" in server.log
    assert "has not stopped" not in server.log  # nothing waited for the main process


async def test_all_processes_but_the_main_one_may_be_killed(server: Server) -> None:
    await server.ready()
    before = await server.pids(2)
    mine = f"process {server.process.pid}"
    for process in server.left():
        if process.startswith("process") and process != mine:
            os.kill(int(process.split()[1]), signal.SIGKILL)
    assert before.isdisjoint(await server.pids(2))
    server.assert_stops()
    await nothing_is_left(server)


async def metric(server: Server, name: str) -> float:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{server.address}/health/metrics")
    families = text_string_to_metric_families(answer.text)
    return next(each.value for family in families for each in family.samples if each.name == name)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stopped", [False, True], ids=["computes", "stands still"])
async def test_a_worker_that_hangs_is_told_of_and_replaced_and_the_others_go_on(
    settings: Settings, tmp_path: Path, *, stopped: bool
) -> None:
    hang = {"GOSPA_HANG_TIMEOUT": "30"}
    with launch(settings, tmp_path, "--workers=2", env=hang) as server:
        await server.ready()
        async with server.members(2) as (member, other), contextlib.AsyncExitStack() as stack:
            if stopped:
                await stack.enter_async_context(halt(other.pid))
            else:
                await stack.enter_async_context(halt(member.pid))  # not this one
                await stack.enter_async_context(spinning(server))
                os.kill(member.pid, signal.SIGCONT)
            await until(lambda: f"worker {other.pid} does not answer" in server.log, within=90)
            await member.join("sheet/a")  # over the connection that it had
            assert await member.call("sheet/a", "add") == 1
        assert {member.pid, other.pid} != await server.pids(2)
        assert ("in spin" in server.log) is not stopped
        assert await metric(server, "gospa_workers_hung_total") == 1
        server.assert_stops()


@pytest.mark.timeout(300)
async def test_a_worker_whose_start_never_ends_is_told_of_and_replaced(
    settings: Settings, tmp_path: Path
) -> None:
    hang, app = {"GOSPA_HANG_TIMEOUT": "30"}, "tests.gospa.process.stuck_start:app"
    with launch(settings, tmp_path, "--workers=2", env=hang, app=app) as server:
        await server.ready()
        killed = await server.pid()
        (server.temporary / STUCK).touch()
        os.kill(killed, signal.SIGKILL)
        await until(lambda: "does not answer" in server.log, within=90)
        (server.temporary / STUCK).unlink()
        assert killed not in await server.pids(2)
        server.assert_stops()
