"""Whole servers: several workers, ways to start them, and what happens when one dies."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gospa.settings import Settings
from gospa.testing import until
from tests.gospa.process.server import (
    PROJECT,
    START_TIMEOUT,
    STOP_TIMEOUT,
    Server,
    launch,
    launch_ready,
    state_of,
)
from tests.gospa.raw_client import RawClient
from tests.gospa.serving import free_port

pytestmark = pytest.mark.slow

CROWD = 120  # clients: more than Sanic lets wait by itself, less than older kernels allow


@pytest.fixture(scope="module")
def lasting(
    shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server for the tests that only kill workers, which it replaces."""
    with launch_ready(shared_settings, tmp_path_factory.mktemp("server"), "--workers=4") as server:
        yield server


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[Server]:
    """A server that the test stops."""
    with launch(settings, tmp_path, "--workers=2") as server:
        yield server


def exists(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return state_of(pid) != "Z"


async def test_several_workers_answer(lasting: Server) -> None:
    assert lasting.process.pid not in await lasting.pids(4)


async def test_a_crowd_may_wait_to_be_accepted(settings: Settings, tmp_path: Path) -> None:
    with launch(settings, tmp_path) as server:
        await server.ready()
        worker = await server.pid()
        os.kill(worker, signal.SIGSTOP)
        try:
            async with asyncio.timeout(40):  # a queue that is full would not answer at all
                waiting = [
                    await asyncio.open_connection(*server.address.split(":")) for _ in range(CROWD)
                ]
        finally:
            os.kill(worker, signal.SIGCONT)
        for _, writer in waiting:
            writer.close()


async def test_a_worker_that_was_killed_is_replaced(lasting: Server) -> None:
    async with lasting.members(1) as (member,):
        killed = member.pid
        os.kill(killed, signal.SIGKILL)
        await member.websocket.wait_closed()
    assert killed not in await lasting.pids(4)
    assert "died" in lasting.log


async def test_a_worker_that_starts_before_its_start_is_noted_is_known_to_be_ready(
    settings: Settings, tmp_path: Path
) -> None:
    with launch(settings, tmp_path, app="tests.gospa.process.slow_main:app") as server:
        await server.ready()
        async with httpx.AsyncClient() as client:

            async def known() -> Any:
                return (await client.get(f"http://{server.address}/state")).json()

            async def noted() -> bool:
                return (await known())["pid"] is not None

            await until(noted, START_TIMEOUT)
            assert await known() == {"pid": await server.pid(), "state": "ACKED"}


async def test_a_replacement_has_the_files_of_the_start(settings: Settings, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    foreign = shutil.ignore_patterns(".*", "node_modules", "__pycache__")
    shutil.copytree(PROJECT, copy, ignore=foreign)
    with launch(settings, tmp_path, "--workers=1", cwd=copy) as server:
        await server.ready()
        address, killed = f"http://{server.address}/gospa/backoff.js", await server.pid()
        async with httpx.AsyncClient(headers={"Connection": "close"}) as client:
            script = (await client.get(address)).text
            (copy / "gospa/client/backoff.js").write_text("// of a later release")
            os.kill(killed, signal.SIGKILL)
            assert killed not in await server.pids(1)
            assert (await client.get(address)).text == script
        server.assert_stops()


async def test_all_workers_killed_at_once_are_replaced(lasting: Server) -> None:
    killed = await lasting.pids(4)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert killed.isdisjoint(await lasting.pids(4))


async def test_on_sigterm_clients_are_told_to_come_back_and_all_is_over(server: Server) -> None:
    await server.ready()
    pids = await server.pids(2)
    async with server.members(2) as members:
        server.process.send_signal(signal.SIGTERM)
        for member in members:
            bye = await member.until(lambda message: message[0] == 6)
            assert bye[1] == 1012
            await member.websocket.wait_closed()
            assert member.websocket.close_code == 1012
    assert server.process.wait(STOP_TIMEOUT) == 0
    assert not any(map(exists, pids))
    assert "Traceback" not in server.log


async def test_on_sigterm_what_waits_to_be_done_does_not_hold_up_the_stop(server: Server) -> None:
    await server.ready()
    async with server.members(2) as members:
        for member in members:
            await member.join("sheet/a")
        for number in range(1, 2000):
            for member in members:
                await member.send(2, number, "sheet/a", "add", {})
        server.process.send_signal(signal.SIGTERM)
        for member in members:
            assert (await member.until(lambda message: message[0] == 6))[1] == 1012
    assert server.process.wait(STOP_TIMEOUT) == 0, server.log


async def answering(operators: Server) -> set[int]:
    """Two workers that answer at a port where each has a listener of its own.

    `Server.pids` would halt one of them, and the kernel gives it connections all the same.
    """
    pids: set[int] = set()

    async def both() -> bool:
        with contextlib.suppress(httpx.TransportError):  # of a worker that dies just now
            pids.add(await operators.pid())
        return len(pids) == 2

    await until(both, START_TIMEOUT)
    return pids


async def test_all_workers_answer_at_the_port_for_operators(
    settings: Settings, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    places = {"GOSPA_HEALTH_ADDRESS": address}
    with launch(settings, tmp_path, "--workers=2", env=places) as server:
        operators = Server(server.process, address, tmp_path / "none")
        await until(server.all_ready, START_TIMEOUT)
        killed = (await answering(operators)).pop()
        os.kill(killed, signal.SIGKILL)
        await until(lambda: not exists(killed))
        assert killed not in await answering(operators)
        async with httpx.AsyncClient(base_url=f"http://{server.address}") as client:
            assert (await client.get("/")).status_code == 200
            assert (await client.get("/health/ready")).status_code == 404
        with launch(settings, tmp_path, env=places) as second:
            await until(lambda: second.process.poll() is not None)
            assert f"GOSPA_HEALTH_ADDRESS={address} cannot be used" in second.log
        server.assert_stops()


async def test_workers_end_when_the_main_process_is_killed(server: Server) -> None:
    await server.ready()
    pids = await server.pids(2)
    server.process.kill()
    await until(lambda: not any(map(exists, pids)))


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def starting(server: Server) -> list[int]:
    """The process ids of workers: forks of the main process have its command line."""
    main = server.process.pid
    pids = [int(each.split()[1]) for each in server.left() if each.startswith("process ")]
    return [pid for pid in pids if pid != main and command_of(pid) == command_of(main)]


async def test_a_worker_that_is_killed_while_it_starts_is_replaced(server: Server) -> None:
    await until(lambda: bool(starting(server)))
    os.kill(starting(server)[0], signal.SIGKILL)
    await server.pids(2)
    assert "died" in server.log
    server.assert_stops()


async def test_a_stop_before_the_workers_are_up_is_a_stop(server: Server) -> None:
    await until(lambda: "Starting worker" in server.log)
    server.stop()  # with any code: one that is just importing ends by the signal


async def test_a_stop_while_a_worker_is_replaced_is_a_stop(server: Server) -> None:
    await server.ready()
    os.kill(await server.pid(), signal.SIGKILL)
    await until(lambda: "died" in server.log)
    server.stop()


@pytest.mark.parametrize(
    "arguments",
    [[], ["--workers=1"], ["--single-process"], ["--dev"], ["--fast"]],
    ids=lambda arguments: " ".join(arguments) or "no arguments",
)
async def test_every_way_to_start_serves(
    arguments: list[str], settings: Settings, tmp_path: Path
) -> None:
    with launch(settings, tmp_path, *arguments) as server:
        await server.ready()
        async with RawClient.connect(server.address) as member:
            await member.join("sheet/a")
            assert await member.call("sheet/a", "add") == 1
        server.assert_stops()


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"GOSPA_SESSION_IDEL": "60"}, "did you mean GOSPA_SESSION_IDLE"),
        ({"GOSPA_SESSION_IDLE": "soon"}, "GOSPA_SESSION_IDLE='soon' cannot be used"),
    ],
    ids=["unknown", "malformed"],
)
@pytest.mark.parametrize("arguments", [["--workers=4"], ["--single-process"]], ids=" ".join)
async def test_a_wrong_setting_is_said_and_nothing_starts(
    setting: dict[str, str],
    problem: str,
    arguments: list[str],
    settings: Settings,
    tmp_path: Path,
) -> None:
    with launch(settings, tmp_path, *arguments, env=setting) as server:
        await until(lambda: server.process.poll() is not None)
        assert server.process.returncode != 0
        assert server.log.count(problem) == 1
        assert "Traceback" not in server.log
        assert "Worker ready" not in server.log
