from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import structs
from sanic import HTTPResponse, Request
from sanic.response import json

import app as chosen
from gospa.app import create_app
from gospa.backends.redis.storage import open_storage
from gospa.sessions.cookie import session_of
from gospa.sessions.store import SessionStore
from gospa.settings import Settings
from gospa.storage import Storage
from gospa.testing import serve, until
from tests.gospa.backends.storage_conformance import StorageConformance
from tests.gospa.redis_servers import PERSISTENT, RedisServer
from tests.gospa.sessions.lifecycle import Bus, SessionLifecycle, begin, no_room

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": "gospa.v1",
}


@pytest.fixture
async def storage(settings: Settings) -> AsyncIterator[Storage]:
    async with open_storage(settings) as storage:
        yield storage


class TestRedisStorage(StorageConformance):
    pass


class TestRedisSessions(SessionLifecycle):
    pass


async def test_a_key_of_the_wrong_type_is_no_session(settings: Settings) -> None:
    async with open_storage(settings) as storage:
        store = SessionStore(storage, Bus(), settings, no_room)
        record = await begin(store)
        key = f"{settings.key_prefix}session:{record.session.identity}"
        client = storage._client  # noqa: SLF001
        await client.delete(key)
        await client.hset(key, "v", "1")
        assert await store.load(record.token or "") is None


async def test_a_key_that_is_not_text_does_not_hide_others(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_storage(settings) as storage:
        await storage.set("own:a", b"")
        client = storage._client  # noqa: SLF001
        await client.set(f"{settings.key_prefix}own:".encode() + b"\xff", "x")
        assert [key async for key in storage.keys("own:")] == ["own:a"]
    assert "is not text; it is skipped" in caplog.text


async def test_no_token_is_anywhere_in_redis(settings: Settings) -> None:
    async with open_storage(settings) as storage:
        store = SessionStore(storage, Bus(), settings, no_room)
        record = await begin(store, "ann", a=1)
        client = storage._client  # noqa: SLF001
        keys = [key async for key in client.scan_iter(f"{settings.key_prefix}*")]
        assert len(keys) == 2
        kept = b" ".join([*keys, *[await client.get(key) for key in keys]])
        assert (record.token or "")[32:].encode() not in kept


async def test_everything_stored_ends_by_itself(settings: Settings) -> None:
    async with open_storage(settings) as storage:
        await begin(SessionStore(storage, Bus(), settings, no_room), "ann")
        client = storage._client  # noqa: SLF001
        async for key in client.scan_iter(f"{settings.key_prefix}*"):
            assert 0 < await client.ttl(key) <= settings.session_absolute


@asynccontextmanager
async def killed(server: RedisServer) -> AsyncIterator[None]:
    server.kill()
    yield
    await server.start()


async def look(request: Request) -> HTTPResponse:
    return json(dict(await session_of(request)))


async def put(request: Request) -> HTTPResponse:
    (await session_of(request))["put"] = True
    return json({})


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [killed, RedisServer.halted], ids=["killed", "hung"])
async def test_while_redis_is_away_no_visitor_is_taken_for_a_stranger(
    settings: Settings, tmp_path: Path, trouble: Any
) -> None:
    server = await RedisServer(tmp_path, *PERSISTENT).start()
    url = f"redis://127.0.0.1:{server.port}"
    own = structs.replace(settings, redis_url=url, store_timeout=1.0)
    app = create_app("away", chosen.BACKENDS, [], own)
    app.add_route(look, "/look")
    app.add_route(put, "/put", methods=["POST"])
    async with serve(app) as address:
        visitor = httpx.AsyncClient(base_url=f"http://{address}")
        stranger = httpx.AsyncClient(base_url=f"http://{address}")
        async with visitor, stranger:

            async def is_stored() -> bool:  # on a busy machine not always within the timeout
                return (await visitor.post("/put")).status_code == 200

            await until(is_stored)
            async with trouble(server):
                assert (await stranger.get("/look")).json() == {}
                for answer in (
                    await visitor.get("/look"),
                    await visitor.post("/put"),
                    await visitor.get("/ws", headers=HANDSHAKE),
                    await stranger.post("/put"),
                    await stranger.get("/ws", headers=HANDSHAKE),
                ):
                    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                    assert "set-cookie" not in answer.headers

            async def is_known() -> bool:
                return (await visitor.get("/look")).text == '{"put":true}'

            await until(is_known)
    await server.close()
