"""What every storage does, as one test-suite. Subclass it and give it a `storage` fixture."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gospa.storage import Storage
from gospa.testing import until


def gone(storage: Storage, key: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return await storage.get(key) is None

    return look


class StorageConformance:
    async def test_what_was_never_set_is_none(self, storage: Storage) -> None:
        assert await storage.get("k") is None

    @pytest.mark.parametrize("value", [b"", b"x", b"\x00\xff\r\n", bytes(100_000)])
    async def test_what_is_set_is_got(self, storage: Storage, value: bytes) -> None:
        await storage.set("k", value)
        assert await storage.get("k") == value

    async def test_some_are_got_together_in_their_order(self, storage: Storage) -> None:
        await storage.set("a", b"1")
        await storage.set("b", b"", ttl=60)
        assert await storage.get_many(["b", "never", "a", "b"]) == [b"", None, b"1", b""]
        assert await storage.get_many([]) == []

    async def test_setting_again_replaces(self, storage: Storage) -> None:
        await storage.set("k", b"1", ttl=0.05)
        await storage.set("other", b"1", ttl=0.1)
        await storage.set("k", b"2")
        await until(gone(storage, "other"))
        assert await storage.get("k") == b"2"

    async def test_a_value_ends_with_its_time_to_live(self, storage: Storage) -> None:
        await storage.set("k", b"1", ttl=60)
        assert await storage.get("k") == b"1"
        await storage.set("k", b"1", ttl=0.05)
        await until(gone(storage, "k"))
        assert not await storage.replace("k", b"1", b"2")
        assert not await storage.delete("k")

    async def test_replacing_needs_the_old_value(self, storage: Storage) -> None:
        assert not await storage.replace("k", b"", b"new")
        await storage.set("k", b"old")
        assert not await storage.replace("k", b"other", b"new")
        assert await storage.get("k") == b"old"
        assert await storage.replace("k", b"old", b"new")
        assert await storage.get("k") == b"new"

    async def test_replacing_gives_a_new_time_to_live(self, storage: Storage) -> None:
        await storage.set("k", b"old")
        assert await storage.replace("k", b"old", b"new", ttl=0.05)
        await until(gone(storage, "k"))

    @pytest.mark.parametrize("ttl", [0, -1, 1e-9])
    async def test_a_time_to_live_of_nothing_or_less_ends_at_once(
        self, storage: Storage, ttl: float
    ) -> None:
        await storage.set("k", b"1", ttl=ttl)
        await until(gone(storage, "k"))

    async def test_replacing_what_is_absent_is_creating_it(self, storage: Storage) -> None:
        assert await storage.replace("k", None, b"")
        assert not await storage.replace("k", None, b"2")
        assert await storage.replace("k", b"", b"3", ttl=0.05)
        await until(gone(storage, "k"))
        assert await storage.replace("k", None, b"4")
        assert await storage.get("k") == b"4"

    async def test_of_many_creating_one_value_one_succeeds(self, storage: Storage) -> None:
        outcomes = await asyncio.gather(
            *(storage.replace("k", None, bytes([number])) for number in range(20))
        )
        assert outcomes.count(True) == 1

    async def test_deleting_tells_whether_there_was_something(self, storage: Storage) -> None:
        await storage.set("k", b"1")
        assert await storage.delete("k")
        assert await storage.get("k") is None
        assert not await storage.delete("k")

    async def test_keys_are_listed_by_how_they_begin(self, storage: Storage) -> None:
        for key in ("a:1", "a:2", "b:1", "a"):
            await storage.set(key, b"x", ttl=60)
        await storage.set("a:3", b"x", ttl=0.001)
        await until(gone(storage, "a:3"))
        assert {key async for key in storage.keys("a:")} == {"a:1", "a:2"}

    async def test_of_many_replacing_one_value_one_succeeds(self, storage: Storage) -> None:
        await storage.set("k", b"old")
        outcomes = await asyncio.gather(
            *(storage.replace("k", b"old", bytes([number])) for number in range(20))
        )
        assert outcomes.count(True) == 1
        assert await storage.get("k") == bytes([outcomes.index(True)])
