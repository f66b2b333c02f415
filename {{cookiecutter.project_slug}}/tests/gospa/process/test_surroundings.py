"""Hosts that lack something: the application works, or says in one line what is missing."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gospa.checks import refuse_unfinished
from gospa.settings import Settings, SettingsError
from gospa.testing import OpenApp, until
from tests.gospa.process.server import PROJECT, Server, launch
from tests.gospa.raw_client import RawClient

ROOT = not os.getuid() and shutil.which("unshare") and shutil.which("mount")


async def serves(server: Server) -> None:
    await server.ready()
    await server.pids(2)
    async with RawClient.connect(server.address) as member:
        await member.join("sheet/a")
        assert await member.call("sheet/a", "add") == 1
    server.assert_stops()


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="needs root, and namespaces of Linux")
@pytest.mark.parametrize("how", ["mount -t tmpfs -o ro none /dev/shm", "mount -t tmpfs none /dev"])
async def test_without_a_writable_dev_shm_it_serves(
    settings: Settings, tmp_path: Path, how: str
) -> None:
    needed = "mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9"
    script = f'{how} && {{ [ -e /dev/null ] || {{ {needed}; }}; }} && exec "$@"'
    front = ("unshare", "--mount", "sh", "-c", script, "sh")
    with launch(settings, tmp_path, "--workers=2", front=front) as server:
        await serves(server)
        assert "Traceback" not in server.log, server.log


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="needs root, and namespaces of Linux")
async def test_where_only_a_temporary_folder_can_be_written_it_serves(
    settings: Settings, tmp_path: Path
) -> None:
    script = """
        mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,ro,bind / &&
        ! touch "$2/written" && shift 2 && cd "$PWD" && exec "$@"
    """
    front = ("unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), str(PROJECT))
    with launch(settings, tmp_path, "--workers=2", front=front) as server:
        await serves(server)
        assert "Traceback" not in server.log, server.log


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "starts"), [(64, True), (32, False)])
async def test_with_few_open_files_it_serves_or_says_what_to_raise(
    settings: Settings, tmp_path: Path, limit: int, *, starts: bool
) -> None:
    front = ("sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh")
    with launch(settings, tmp_path, "--workers=2", front=front) as server:
        if starts:
            await serves(server)
        else:
            await until(lambda: server.process.poll() is not None)
        assert f"a process may have {limit} open files" in server.log
        assert "raise `ulimit -n`" in server.log
        assert "Traceback" not in server.log, server.log


@pytest.mark.slow
@pytest.mark.parametrize("locale", ["C", "POSIX", "xx_XX.ISO-8859-1"])
async def test_without_a_locale_of_utf_8_it_serves(
    settings: Settings, tmp_path: Path, locale: str
) -> None:
    env = {"LC_ALL": locale, "LANG": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with launch(settings, tmp_path, "--workers=2", env=env) as server:
        await serves(server)


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="needs root, and namespaces of Linux")
async def test_as_the_first_process_of_a_container_it_serves_and_stops(
    settings: Settings, tmp_path: Path
) -> None:
    front = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--forward-signals")
    options = subprocess.run(["unshare", "--help"], check=True, capture_output=True)  # noqa: ASYNC221, S607
    if b"--forward-signals" not in options.stdout:
        pytest.skip("this unshare does not forward signals")
    with launch(settings, tmp_path, "--workers=2", front=front) as server:
        await serves(server)


async def test_an_asgi_server_is_refused_in_one_line(open_app: OpenApp) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with open_app() as site:
        await site.app({"type": "lifespan"}, receive, send)
        assert sent[0]["type"] == "lifespan.startup.failed"
        assert "use `sanic app`" in sent[0]["message"]
        for kind in ("http", "websocket"):  # of a server without a lifespan
            await site.app({"type": kind}, receive, send)
        assert sent[1]["status"] == 503
        assert b"use `sanic app`" in sent[2]["body"]
        assert sent[3] == {"type": "websocket.close"}


def test_a_project_that_was_generated_without_hooks_is_refused(tmp_path: Path) -> None:
    rendered, template = tmp_path / "rendered", tmp_path / "template"
    for folder, name in ((rendered, "shop"), (template, "{" * 2 + " cookiecutter.project_slug }}")):
        folder.mkdir()
        (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    with pytest.raises(SettingsError, match=re.escape("--accept-hooks no")):
        refuse_unfinished("app", rendered)
    refuse_unfinished("shop", rendered)
    refuse_unfinished("app", template)
    refuse_unfinished("app", tmp_path / "none")


async def test_without_a_temporary_folder_the_remedy_is_said(
    settings: Settings, tmp_path: Path
) -> None:
    if not settings.redis_url:
        pytest.skip("nothing needs one")
    env = {"REDIS_URL": "", "GOSPA_STORE_DIRECTORY": str(tmp_path / "store")}
    env |= {"TMPDIR": "/proc", "GOSPA_KEY_PREFIX": "a:"}
    places = "import tempfile\ntempfile._candidate_tempdir_list = lambda: ['/proc']\n"
    (tmp_path / "sitecustomize.py").write_text(places)  # as if no other place could be written
    with launch(settings, tmp_path, env={**env, "PYTHONPATH": str(tmp_path)}) as server:
        await until(lambda: server.process.poll() is not None)
        assert "set TMPDIR" in server.log
        assert "Traceback" not in server.log, server.log
