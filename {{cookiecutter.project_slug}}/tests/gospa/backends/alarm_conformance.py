"""The conformance suite of indexes of alarms: part of that of state stores."""

import asyncio

from gospa.store.alarms import ALARM, GRAIN, Entry
from gospa.store.codec import encode
from gospa.store.contract import Change, Commit, StateStore
from gospa.testing import until

ROOM = "sheet/a"
HOUR = 3_600_000  # milliseconds
BRIEF = 0.3  # seconds


class AlarmConformance:
    async def test_an_entry_is_due_when_its_time_has_come_until_it_is_removed(
        self, store: StateStore
    ) -> None:
        due = await store.alarms.add(ROOM, 100)
        later = await store.alarms.add(ROOM, HOUR)
        assert due % GRAIN == later % GRAIN == 0
        assert HOUR - 2 * GRAIN < later - due < HOUR + 2 * GRAIN

        async def found() -> bool:
            now, entries = await store.alarms.due(
                10
            )  # of the latest clock, if servers have several
            assert entries == [] or (entries == [Entry(ROOM, due)] and due <= now)
            return bool(entries)

        await until(found)
        await store.alarms.remove([Entry(ROOM, due), Entry(ROOM, 1)])
        assert (await store.alarms.due(10)).entries == []

    async def test_an_entry_is_put_off_unless_it_was_removed(self, store: StateStore) -> None:
        now, _ = await store.alarms.due(10)
        one, other = Entry(ROOM, now - 2000), Entry("sheet/b", now - 1000)
        for entry in (one, other, one):
            await store.alarms.note(*entry)
        assert sorted((await store.alarms.due(10)).entries) == [one, other]
        await store.alarms.put_off({one: now + HOUR, Entry("sheet/c", 1): 1})
        await store.alarms.note(*one)  # as it is opened: that does not bring it forward
        assert (await store.alarms.due(10)).entries == [other]
        await store.alarms.put_off({one: now - 1})
        assert sorted((await store.alarms.due(10)).entries) == [one, other]

    async def test_a_look_is_at_the_first_entries(self, store: StateStore) -> None:
        now, _ = await store.alarms.due(10)
        entries = [Entry(ROOM, now - n) for n in range(20, 0, -1)]
        for entry in reversed(entries):
            await store.alarms.note(*entry)
        assert (await store.alarms.due(5)).entries == entries[:5]

    async def test_no_name_of_a_room_is_in_the_way_of_the_index(self, store: StateStore) -> None:
        names = [f"alarms:{number}" for number in range(8)]
        for name in names:
            assert isinstance(await self._commit(store, name, set={"a": encode(1)}), Commit)
        for name in names:
            await store.alarms.add(name, HOUR)
            assert await store.load(name)

    async def test_the_alarm_that_a_room_has_is_known_without_opening_it(
        self, store: StateStore
    ) -> None:
        assert await store.alarms.stored([]) == {}
        for room, alarm in ((ROOM, encode(7)), ("sheet/b", b"\xc1"), ("sheet/c", encode("x"))):
            assert isinstance(await self._commit(store, room, set={ALARM: alarm}), Commit)
        rooms = [ROOM, "sheet/b", "sheet/c", "sheet/none"]
        assert await store.alarms.stored(rooms) == {**dict.fromkeys(rooms), ROOM: 7}

    async def test_a_room_lives_until_its_alarm_and_as_long_after_that_as_others(
        self, brief: StateStore
    ) -> None:
        now, _ = await brief.alarms.due(10)
        await self._commit(brief, ROOM, set={ALARM: encode(now + HOUR), "a": encode(1)})
        await self._commit(brief, "sheet/b", set={ALARM: b"\xc1", "a": encode(1)})
        await self._commit(brief, "sheet/c", set={ALARM: encode(now + HOUR)}, visit=True)
        await self._commit(brief, ROOM, exists=True, set={"a": encode(2)})

        async def gone() -> bool:
            return await brief.load("sheet/b", renew=False) is None

        await until(gone)
        for room in (ROOM, "sheet/c"):
            assert await brief.load(room)
        await brief.latest_tags([ROOM])
        await asyncio.sleep(2 * BRIEF)  # nothing to wait for: it is to stay
        assert await brief.load(ROOM, renew=False)
        await self._commit(brief, ROOM, exists=True, delete=[ALARM])

        async def ended() -> bool:
            return await brief.load(ROOM, renew=False) is None

        await until(ended)

    async def _commit(
        self, store: StateStore, room: str, *, exists: bool = False, **options: object
    ) -> object:
        change = Change(bytes(8), exists, (b"", b""), **options)  # type: ignore[arg-type]
        return await store.commit(room, change)
