"""The application as the user of docs/redis.md, who may do only what it needs."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
from redis.exceptions import NoPermissionError

from gospa.errors import StoreError
from gospa.rooms import rooms_of
from gospa.testing import OpenApp, Site, cookie_of, until
from tests.gospa.live.test_alarms import KEY, Timer, rings
from tests.gospa.raw_client import raw_client
from tests.gospa.redis_servers import RedisServer
from tests.gospa.rooms import ROOMS
from tests.gospa.views import blueprint

DOCS = Path(__file__).parents[4] / "docs/redis.md"
RULES = re.compile(r"^ +ACL SETUSER app (.*)$", re.MULTILINE)


def rules() -> list[str]:
    (found,) = RULES.findall(DOCS.read_text(encoding="utf-8"))
    words: list[str] = found.split()
    return words


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path, "--user", "app", *rules())
    yield await server.start()
    await server.close()


@pytest.fixture
async def site(server: RedisServer, open_app: OpenApp) -> AsyncIterator[Site]:
    url = f"redis://app:password@127.0.0.1:{server.port}/1"
    async with open_app(ROOMS, [blueprint], redis_url=url, key_prefix="app:") as site:
        yield site


async def test_the_application_needs_no_more(site: Site, server: RedisServer) -> None:
    async with site.http() as client:
        await client.post("/log-in/ann")
        async with raw_client(site, cookie=cookie_of(client)) as ann, raw_client(site) as bob:
            for member in (ann, bob):
                await member.join("sheet/a")
                await member.join("sheet/a#members")
            assert await ann.call("sheet/a", "add") == 1
            await bob.sees("sheet/a", lambda state: state["count"] == 1)
            await bob.sees("sheet/a#members", lambda state: state["count"] == 2)
            note = await ann.call("sheet/a", "add_note", text="x")
            await ann.call("sheet/a", "remove_note", id=note)
            await bob.emit("sheet/a", "typing", "b")
            await ann.hears("sheet/a", "typing")
            await ann.join("my")
            await ann.write("my", note="mine")
        assert [name async for name in names(site)]
        assert (await client.get("/health/ready")).status_code == 200
        await client.post("/log-out-everywhere")
    await rooms_of(site.app).delete("sheet/a")
    refused = await server.client.execute_command("ACL", "LOG")
    assert [entry for entry in refused if b"setinfo" not in str(entry).lower().encode()] == []


async def test_rooms_with_alarms_need_these_too(
    server: RedisServer, open_app: OpenApp, caplog: pytest.LogCaptureFixture
) -> None:
    (more,) = re.findall(
        r"^Rooms with an `@alarm` also need `(.*?)`", DOCS.read_text(), re.MULTILINE
    )
    url = f"redis://app:password@127.0.0.1:{server.port}/1"
    async with open_app([Timer], redis_url=url, key_prefix="app:") as site:
        rooms = rooms_of(site.app)
        with pytest.raises(StoreError):
            await rooms.call(Timer.start, KEY)
        await until(lambda: "due alarms cannot be read" in caplog.text)
        await server.client.execute_command("ACL", "SETUSER", "app", *more.split())
        await rooms.call(Timer.start, KEY)
        await rings(rooms, 1)


async def names(site: Site) -> AsyncIterator[str]:
    async for name in rooms_of(site.app).names("sheet/"):
        yield name


@pytest.mark.parametrize(
    "command",
    [
        *(("FLUSHALL",), ("FUNCTION", "FLUSH"), ("SCRIPT", "FLUSH"), ("CONFIG", "GET", "*")),
        *(("KEYS", "*"), ("RANDOMKEY",), ("GET", "other:a"), ("SET", "other:a", "1")),
        *(("PUBLISH", "other:a", "1"), ("ACL", "WHOAMI"), ("CLIENT", "LIST")),
    ],
    ids=" ".join,
)
async def test_it_may_do_nothing_else(server: RedisServer, command: tuple[str, ...]) -> None:
    client: Any = aioredis.Redis(port=server.port, username="app", password="password")  # noqa: S106
    async with client:
        assert await client.ping()
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command)
