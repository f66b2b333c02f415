"""What in Redis is not as this release stores it is named, and harms nothing else."""

import pytest

from gospa import rooms_of
from gospa.backends.redis import client as redis_client
from gospa.backends.redis.pubsub import open_pubsub
from gospa.backends.redis.state import open_state
from gospa.errors import StoreCorrupt
from gospa.settings import Settings
from gospa.testing import OpenApp
from tests.gospa.backends.state_conformance import change
from tests.gospa.rooms import Sheet


async def test_each_record_of_another_layout_is_named(settings: Settings) -> None:
    prefix = settings.key_prefix
    async with (
        redis_client.connect(settings) as client,
        open_pubsub(settings) as pubsub,
        open_state(settings, pubsub) as store,
    ):
        await store.commit("list/a", change(exists=False, set={"a": 1}, source="c", numbers=1))
        await store.hold_lease("worker", 60)
        await store.alarms.add("list/a", 1000)
        await client.set(f"{prefix}{{list/a}}:lock", "writer")
        assert [each async for each in store.damaged()] == []

        await client.set(f"{prefix}{{list/b}}", "not a hash")
        await client.set(f"{prefix}{{list/a}}:torn", b"\x95\x01")
        await client.hset(f"{prefix}{{list/a}}:hash", "a", "b")
        await client.hset(f"{prefix}{{lease:hash}}", "a", "b")
        await client.hset(f"{prefix}{{list/".encode() + b"\xff}", "h", "x")
        assert {key: reason.split()[-1] async for key, reason in store.damaged()} == {
            "{list/b}": "there",
            "{list/a}:torn": "reads",
            "{list/a}:hash": "there",
            "{lease:hash}": "there",
            "{list/\\xff}": "text",
        }


async def test_a_room_whose_key_is_not_text_does_not_hide_others(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        redis_client.connect(settings) as client,
        open_pubsub(settings) as pubsub,
        open_state(settings, pubsub) as store,
    ):
        await store.commit("list/a", change(exists=False, set={"a": 1}))
        await client.hset(f"{settings.key_prefix}{{list/".encode() + b"\xff}", "h", "x")
        assert [name async for name in store.names()] == ["list/a"]
    assert "is not text; it is skipped" in caplog.text


async def test_a_room_that_is_damaged_while_it_is_open_harms_no_other(open_app: OpenApp) -> None:
    async with open_app(head_check_interval=0.05) as site, site.connect() as ann:
        settings, rooms = site.app.ctx.settings, rooms_of(site.app)
        spoilt, sound = await ann.join("sheet/spoilt"), await ann.join("sheet/sound")
        for room in (spoilt, sound):
            await room.call("add")
        async with redis_client.connect(settings) as client:
            await client.hset(f"{settings.key_prefix}{{sheet/spoilt}}", "h", b"\x02" + bytes(16))
        for _ in range(2):
            with pytest.raises(StoreCorrupt):
                await rooms.call(Sheet.add, "sheet/spoilt")
        async with site.connect() as bob:
            assert await (await bob.join("sheet/sound")).call("add") == 2
        assert await sound.call("add") == 3
        await rooms.delete("sheet/spoilt")
        assert await rooms.call(Sheet.add, "sheet/spoilt") == 1
