"""The conformance suite of state stores: subclass it, with fixtures `pubsub`, `store`, `brief`.

`brief` is a store that keeps rooms for BRIEF.
"""

import asyncio
import os
import time
from typing import Any

import pytest

from gospa.live import wire
from gospa.pubsub import PubSub
from gospa.store.codec import pack_fields, unpack_fields
from gospa.store.contract import (
    MAX_REFUSED,
    NO_TAG,
    Change,
    Commit,
    Conflict,
    Known,
    Moved,
    Numbered,
    Record,
    StateStore,
    channel,
)
from gospa.testing import until
from tests.gospa.backends.alarm_conformance import ROOM, AlarmConformance


def change(**options: Any) -> Change:
    """A change of values given plain, by default to a room that exists."""
    changed, deleted = pack_fields(options.pop("set", {})), options.pop("delete", ())
    tag = options.pop("tag", None) or os.urandom(8)
    if source := options.pop("source", None):
        numbers = options.pop("numbers")
        first, last = numbers if isinstance(numbers, tuple) else (numbers, numbers)
        ttl, refused = options.pop("ttl", 60), options.pop("refused", ())
        options["mutations"] = [Numbered(source, first, last, ttl, refused)]
    return Change(
        tag=tag,
        exists=options.pop("exists", True),
        message=wire.patch_parts("a", tag, changed, deleted),
        set=changed,
        delete=deleted,
        **options,
    )


async def epochs(store: StateStore) -> dict[str, bytes]:
    """The epochs of the room's collections."""
    loaded = await store.load(ROOM)
    assert loaded is not None
    return dict(loaded.epochs)


async def record(store: StateStore, source: str) -> Record | None:
    """What a store has recorded of a source."""
    exists = await store.load(ROOM) is not None
    probe = change(exists=exists, source=source, numbers=1, ttl=0)
    outcome = await store.commit(ROOM, probe)
    return outcome.records[source] if isinstance(outcome, Known) else None


class StateStoreConformance(AlarmConformance):
    async def test_a_room_never_changed_is_none(self, store: StateStore) -> None:
        assert await store.load(ROOM) is None
        assert await store.latest_tags([ROOM]) == {ROOM: NO_TAG}

    async def test_a_commit_is_what_is_loaded(self, store: StateStore) -> None:
        first = change(exists=False, set={"a": 1, "b": [b"\x00\xff", None]})
        assert await store.commit(ROOM, first) == Commit(1, NO_TAG)
        loaded = await store.load(ROOM)
        assert loaded is not None
        assert (loaded.version, loaded.tag) == (1, first.tag)
        assert unpack_fields(loaded.fields) == {"a": 1, "b": [b"\x00\xff", None]}

    async def test_each_commit_counts_up_and_names_its_parent(self, store: StateStore) -> None:
        one, two = change(exists=False, set={"a": 1}), change(set={"a": 2})
        await store.commit(ROOM, one)
        assert await store.commit(ROOM, two) == Commit(2, one.tag)

    async def test_a_change_that_writes_nothing_is_a_question(
        self, store: StateStore, pubsub: PubSub
    ) -> None:
        published: list[bytes] = []
        await pubsub.subscribe(channel(ROOM), published.append, lambda: None)
        assert await store.commit(ROOM, change(exists=False)) == Commit(0, NO_TAG)
        assert await store.load(ROOM) is None
        one = change(exists=False, set={"a": 1}, source="c", numbers=1)
        await store.commit(ROOM, one)
        ask = change(expect=pack_fields({"a": 1}), source="c", numbers=2, ttl=0)
        assert await store.commit(ROOM, ask) == Commit(1, one.tag)
        assert await store.commit(ROOM, ask) == Commit(1, one.tag)  # it left no number either
        repeated = await store.commit(ROOM, change(expect_tag=NO_TAG, source="c", numbers=1))
        assert repeated == Known({"c": Record(1, 1, one.tag)})
        stale = await store.commit(ROOM, change(expect_tag=NO_TAG, source="c", numbers=2))
        assert stale == Moved(await store.load(ROOM))
        await until(lambda: len(published) == 1)

    async def test_all_rooms_are_listed(self, store: StateStore) -> None:
        rooms = {f"sheet/{name}" for name in ("a", "b", "my*[x]", "\u00e9")}
        for room in rooms:
            await store.commit(room, change(exists=False, set={"a": 1}, source="c", numbers=1))
        await store.delete("sheet/b")
        assert {name async for name in store.names()} == rooms - {"sheet/b"}

    async def test_a_room_that_was_only_visited_is_deleted_once_it_is_empty(
        self, store: StateStore, pubsub: PubSub
    ) -> None:
        published: list[bytes] = []
        await pubsub.subscribe(channel(ROOM), published.append, lambda: None)
        await store.commit(ROOM, change(exists=False, set={"a/1": 1, "%b": 1}, visit=True))
        await store.commit(ROOM, change(delete=("a/1",), visit=True))
        assert await store.load(ROOM) is not None
        await store.commit(ROOM, change(delete=("%b",), visit=True))
        assert await store.load(ROOM) is None
        assert [name async for name in store.names()] == []
        assert await store.commit(ROOM, change(set={"a/1": 1}, visit=True)) == Moved(None)
        await until(lambda: len(published) == 3)

    async def test_a_room_that_somebody_changed_is_kept_though_it_is_empty(
        self, store: StateStore
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1}, visit=True))
        await store.commit(ROOM, change(set={"b": 1}))
        await store.commit(ROOM, change(delete=("a", "b"), visit=True))
        loaded = await store.load(ROOM)
        assert loaded is not None
        assert (loaded.version, loaded.fields) == (3, {})

    async def test_a_question_makes_no_room_and_changes_none(self, store: StateStore) -> None:
        await store.commit(ROOM, change(exists=False, visit=True))
        assert await store.load(ROOM) is None
        await store.commit(ROOM, change(exists=False, set={"a": 1}, visit=True))
        await store.commit(ROOM, change())  # as for a refusal
        await store.commit(ROOM, change(delete=("a",), visit=True))
        assert await store.load(ROOM) is None

    async def test_keys_that_are_not_named_stay(self, store: StateStore) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1, "b": 1, "c": 1}))
        await store.commit(ROOM, change(set={"b": 2}, delete=("c", "never there")))
        loaded = await store.load(ROOM)
        assert loaded is not None
        assert unpack_fields(loaded.fields) == {"a": 1, "b": 2}

    @pytest.mark.parametrize("key", ["", "v", "t", ".", "é", "__proto__", "a b\n\x00", "x" * 300])
    async def test_any_text_is_a_key(self, store: StateStore, key: str) -> None:
        await store.commit(ROOM, change(exists=False, set={key: 1}))
        await store.commit(ROOM, change(set={"other": 2}, expect=pack_fields({key: 1})))
        loaded = await store.load(ROOM)
        assert loaded is not None
        assert unpack_fields(loaded.fields) == {key: 1, "other": 2}

    async def test_what_is_published_is_the_commit(self, store: StateStore, pubsub: PubSub) -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        await pubsub.subscribe(channel(ROOM), heard.put_nowait, lambda: None)
        one = change(exists=False, set={"a": 1, "b": 2})
        two = change(set={"a": "x"}, delete=("b",))
        await store.commit(ROOM, one)
        await store.commit(ROOM, two)
        async with asyncio.timeout(40):
            first, second = wire.read_patch(await heard.get()), wire.read_patch(await heard.get())
        assert (first.version, first.parent, first.tag) == (1, NO_TAG, one.tag)
        assert (second.version, second.parent, second.tag) == (2, one.tag, two.tag)
        assert (second.set, list(second.delete)) == (two.set, ["b"])

    async def test_an_expectation_that_no_longer_holds_is_a_conflict_with_what_differs(
        self, store: StateStore
    ) -> None:
        first = change(exists=False, set={"a": 1, "b": 2})
        await store.commit(ROOM, first)
        for expect, values in (
            (pack_fields({"a": 0, "b": 2}), pack_fields({"a": 1})),
            ({"a": None}, pack_fields({"a": 1})),
            (pack_fields({"missing": 1, "b": 2}), {"missing": None}),
        ):
            for changed in ({"a": 9}, {}):  # a change, or a question
                outcome = await store.commit(ROOM, change(set=changed, expect=expect))
                assert outcome == Conflict(values)
        assert await store.latest_tags([ROOM]) == {ROOM: first.tag}

    async def test_expectations_that_hold_do_not_hinder(self, store: StateStore) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        expect: dict[str, bytes | None] = {**pack_fields({"a": 1}), "missing": None}
        outcome = await store.commit(ROOM, change(set={"b": 2}, expect=expect))
        assert isinstance(outcome, Commit)

    async def test_a_wrong_belief_about_the_rooms_existence_is_a_conflict(
        self, store: StateStore
    ) -> None:
        assert await store.commit(ROOM, change(set={"a": 1})) == Moved(None)
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        outcome = await store.commit(ROOM, change(exists=False, set={"a": 2}))
        assert outcome == Moved(await store.load(ROOM))

    async def test_an_expected_tag_has_to_be_the_rooms(self, store: StateStore) -> None:
        one = change(exists=False, set={"a": 1})
        await store.commit(ROOM, one)
        outcome = await store.commit(ROOM, change(set={"a": 2}, expect_tag=b"elsewise"))
        assert outcome == Moved(await store.load(ROOM))
        outcome = await store.commit(ROOM, change(set={"a": 2}, expect_tag=one.tag))
        assert isinstance(outcome, Commit)

    async def test_a_commit_that_creates_or_deletes_an_item_sets_its_collections_epoch(
        self, store: StateStore
    ) -> None:
        first = change(exists=False, set={"notes/a": 1, "notes/b": 1, "log/a": 1, "n": 1})
        await store.commit(ROOM, first)
        assert await epochs(store) == {"notes": first.tag, "log": first.tag}
        for step in ({"set": {"notes/c": 1}}, {"delete": ["notes/a"]}, {"set": {"notes/a": 1}}):
            latest = change(**step)
            await store.commit(ROOM, latest)
            assert await epochs(store) == {"notes": latest.tag, "log": first.tag}

    @pytest.mark.parametrize(
        "step",
        [
            {"set": {"notes/a": 2}},
            {"set": {"n": 2, "new": 1}, "delete": ["m"]},
            {"delete": ["notes/never there", "gone/a"]},
            {"set": {"notes/a": 1, "n": 1}, "delete": ["notes/x"]},
            {"set": {"notes": 1}},
            {},
        ],
    )
    async def test_nothing_else_sets_an_epoch(
        self, store: StateStore, step: dict[str, Any]
    ) -> None:
        first = change(exists=False, set={"notes/a": 1, "n": 1, "m": 1})
        await store.commit(ROOM, first)
        assert isinstance(await store.commit(ROOM, change(**step)), Commit)
        assert await epochs(store) == {"notes": first.tag}

    @pytest.mark.parametrize("id", ["a/b", "/", "é", "\x00", ".", "#", "x" * 300])
    async def test_the_first_slash_ends_the_name_of_the_collection(
        self, store: StateStore, id: str
    ) -> None:
        first = change(exists=False, set={f"notes/{id}": 1})
        await store.commit(ROOM, first)
        assert await epochs(store) == {"notes": first.tag}
        last = change(delete=[f"notes/{id}"], expect_epochs={"notes": first.tag})
        await store.commit(ROOM, last)
        assert await epochs(store) == {"notes": last.tag}

    async def test_an_expected_epoch_has_to_be_the_collections(self, store: StateStore) -> None:
        """`b""` is that of a collection that never had an item."""
        first = change(exists=False, set={"notes/a": 1})
        await store.commit(ROOM, first)
        wrong: list[dict[str, bytes]] = [
            {"notes": b""},
            {"notes": b"?"},
            {"log": first.tag},
            {"notes": first.tag, "log": b"elsewise"},
        ]
        for expected in wrong:
            for changed in ({"n": 1}, {}):  # a change, or a question
                outcome = await store.commit(ROOM, change(set=changed, expect_epochs=expected))
                assert outcome == Moved(await store.load(ROOM))
        held = {"notes": first.tag, "log": b""}
        assert await store.commit(ROOM, change(expect_epochs=held)) == Commit(1, first.tag)
        counted = change(set={"log/a": 1}, expect_epochs=held)
        assert await store.commit(ROOM, counted) == Commit(2, first.tag)
        assert await store.commit(ROOM, change(set={"log/b": 1}, expect_epochs=held)) == Moved(
            await store.load(ROOM)
        )

    async def test_whose_ids_moved_is_told_the_room_also_where_values_differ(
        self, store: StateStore
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"notes/a": 1}))
        both = change(set={"n": 1}, expect={"notes/a": b"x"}, expect_epochs={"notes": b"elsewise"})
        assert await store.commit(ROOM, both) == Moved(await store.load(ROOM))

    async def test_a_room_that_begins_again_has_no_epochs_of_before(
        self, store: StateStore
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"notes/a": 1}))
        await store.delete(ROOM)
        again = change(exists=False, set={"n": 1}, expect_epochs={"notes": b""})
        assert await store.commit(ROOM, again) == Commit(1, NO_TAG)
        assert await epochs(store) == {}

    async def test_only_the_first_of_those_that_counted_the_same_is_applied(
        self, store: StateStore
    ) -> None:
        """So a limit is never exceeded, and a writer that does not count never conflicts."""
        await store.commit(ROOM, change(exists=False, set={"notes/a": 1}))
        counted = (await epochs(store))["notes"]
        outcomes = await asyncio.gather(
            *(
                store.commit(ROOM, change(set={f"notes/{n}": 1}, expect_epochs={"notes": counted}))
                for n in range(5)
            ),
            *(store.commit(ROOM, change(set={f"log/{n}": 1})) for n in range(5)),
        )
        kinds = [type(outcome) for outcome in outcomes]
        assert (kinds[:5].count(Commit), kinds[:5].count(Moved)) == (1, 4)
        assert kinds[5:] == [Commit] * 5

    async def test_a_room_that_begins_again_counts_on_if_it_is_clocked(
        self, store: StateStore
    ) -> None:
        before = time.time_ns() // 1000 - 60_000_000
        versions = []
        for _ in range(2):
            first = change(exists=False, set={"a": 1}, clocked=True, source=f"{_}", numbers=1)
            outcome = await store.commit(ROOM, first)
            assert isinstance(outcome, Commit)
            next_ = change(set={"a": 2}, clocked=True)
            later = await store.commit(ROOM, next_)
            assert isinstance(later, Commit)
            assert later.parent == first.tag
            assert await record(store, f"{_}") == Record(1, outcome.version, first.tag)
            versions += [outcome.version, later.version]
            await store.delete(ROOM)
        assert before < versions[0] < versions[1] < versions[2] < before + 600_000_000
        assert versions == sorted(versions)

    async def test_a_clocked_room_that_lost_commits_goes_on_above_them(
        self, store: StateStore
    ) -> None:
        """As after a failover: the store is back at an older state, and goes on from there."""
        first = change(exists=False, set={"a": 1}, clocked=True)
        await store.commit(ROOM, first)
        lost = await store.commit(ROOM, change(set={"a": 2}, clocked=True))
        assert isinstance(lost, Commit)
        await store.delete(ROOM)
        old = change(exists=False, set={"a": 1})  # in version 1
        await store.commit(ROOM, old)
        outcome = await store.commit(ROOM, change(set={"a": 3}, clocked=True))
        assert isinstance(outcome, Commit)
        assert outcome.version > lost.version
        assert outcome.parent == old.tag

    async def test_a_sources_number_is_applied_once(self, store: StateStore) -> None:
        first = change(exists=False, set={"a": 1}, source="c", numbers=1)
        await store.commit(ROOM, first)
        again = change(set={"a": 2}, source="c", numbers=1)
        assert await store.commit(ROOM, again) == Known({"c": Record(1, 1, first.tag)})
        other = change(set={"b": 2}, source="d", numbers=1)
        assert await store.commit(ROOM, other) == Commit(2, first.tag)
        later = change(set={"a": 3}, source="c", numbers=2**53 - 1)
        assert isinstance(await store.commit(ROOM, later), Commit)
        assert await record(store, "c") == Record(2**53 - 1, 3, later.tag)

    async def test_a_range_of_which_a_part_was_applied_is_not_applied(
        self, store: StateStore
    ) -> None:
        first = change(exists=False, set={"a": 1}, source="c", numbers=(12, 16))
        await store.commit(ROOM, first)
        again = change(set={"a": 2}, source="c", numbers=(15, 17))
        assert await store.commit(ROOM, again) == Known({"c": Record(16, 1, first.tag)})
        rest = change(set={"a": 2}, source="c", numbers=17)
        assert await store.commit(ROOM, rest) == Commit(2, first.tag)

    async def test_a_number_that_was_refused_does_not_count_as_applied(
        self, store: StateStore
    ) -> None:
        async def commit(number: int, *refused: int) -> bool:
            exists = await store.load(ROOM) is not None
            options = {"source": "c", "numbers": number, "refused": refused}
            outcome = await store.commit(ROOM, change(exists=exists, set={"a": 1}, **options))
            return isinstance(outcome, Commit)

        async def refused() -> list[int]:
            found = await record(store, "c")
            return list(found.refused) if found else []

        assert await commit(3, 1, 2)
        assert await commit(5)  # over another connection, which does not know of those
        assert await refused() == [1, 2]
        assert [await commit(number) for number in (1, 2, 3, 4, 5)] == [False] * 5
        # By a connection that did not learn that 5 was applied over another.
        assert await commit(7, 5, 6)
        assert await refused() == [1, 2, 6]

    async def test_the_latest_refused_numbers_are_kept_however_large(
        self, store: StateStore
    ) -> None:
        largest = 2**53 - 1
        refused = range(largest - 2000, largest)
        numbered = change(exists=False, set={"a": 1}, source="c", numbers=largest, refused=refused)
        await store.commit(ROOM, numbered)
        found = await record(store, "c")
        assert found is not None
        assert list(found.refused) == list(range(largest - MAX_REFUSED, largest))

    async def test_mutations_of_several_sources_are_applied_together_or_not_at_all(
        self, store: StateStore
    ) -> None:
        ann, bob = Numbered("ann", 1, 1, 60), Numbered("bob", 5, 6, 60, [4])
        both = change(exists=False, set={"a": 1}, mutations=[ann, bob])
        assert await store.commit(ROOM, both) == Commit(1, NO_TAG)
        new = Numbered("new", 1, 1, 60)
        records = {"ann": Record(1, 1, both.tag), "bob": Record(6, 1, both.tag, (4,))}
        for done in (ann, bob):
            for mutations in ([new, done], [done, new]):
                outcome = await store.commit(ROOM, change(set={"a": 2}, mutations=mutations))
                assert outcome == Known({done.source: records[done.source]})
        written = change(set={"a": 2}, mutations=[new])
        assert await store.commit(ROOM, written) == Commit(2, both.tag)

    async def test_the_numbers_of_what_changes_nothing_are_recorded(
        self, store: StateStore
    ) -> None:
        absent = change(exists=False, source="once", numbers=1)
        assert await store.commit(ROOM, absent) == Commit(0, NO_TAG)
        assert await store.load(ROOM) is None
        assert await record(store, "once") == Record(1, 0, absent.tag)
        stale = change(source="other", numbers=1)
        assert await store.commit(ROOM, stale) == Moved(None)
        assert await record(store, "other") is None

    async def test_a_record_outlives_its_room(self, store: StateStore) -> None:
        numbered = change(exists=False, set={"a": 1}, source="c", numbers=1)
        await store.commit(ROOM, numbered)
        await store.delete(ROOM)
        assert await store.commit(ROOM, numbered) == Known({"c": Record(1, 0, numbered.tag)})
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        assert await store.commit(ROOM, numbered) == Known({"c": Record(1, 1, numbered.tag)})

    async def test_a_record_ends_with_its_time(self, store: StateStore) -> None:
        short = Numbered("short", 1, 1, 0.05)
        await store.commit(ROOM, change(exists=False, set={"a": 1}, mutations=[short]))

        async def ended() -> bool:
            return await record(store, "short") is None

        await until(ended)

    async def test_a_deleted_room_is_gone_and_replicas_are_told(
        self, store: StateStore, pubsub: PubSub
    ) -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        await store.commit(ROOM, change(exists=False, set={"a": 1}))
        await pubsub.subscribe(channel(ROOM), heard.put_nowait, lambda: None)
        await store.delete(ROOM)
        assert await store.load(ROOM) is None
        async with asyncio.timeout(40):
            assert await heard.get() == b""
        assert await store.commit(ROOM, change(exists=False, set={"a": 1})) == Commit(1, NO_TAG)

    async def test_a_lease_ends_by_itself_unless_it_is_renewed(self, store: StateStore) -> None:
        await store.hold_lease("short", 0.05)
        await store.hold_lease("long", 60)
        assert "long" not in await store.expired_leases(["never", "short", "long"])

        async def lapsed() -> bool:
            return await store.expired_leases(["never", "short", "long"]) == ["never", "short"]

        await until(lapsed)
        await store.hold_lease("short", 60)
        assert await store.expired_leases(["short"]) == []

    async def test_rooms_are_apart(self, store: StateStore) -> None:
        one, two = change(exists=False, set={"a": 1}), change(exists=False, set={"a": 2})
        await store.commit("sheet/a", one)
        await store.commit("sheet/b", two)
        heads = await store.latest_tags(["sheet/a", "sheet/c", "sheet/b"])
        assert heads == {"sheet/a": one.tag, "sheet/b": two.tag, "sheet/c": NO_TAG}

    async def test_concurrent_increments_are_all_counted(self, store: StateStore) -> None:
        await store.commit(ROOM, change(exists=False, set={"n": 0}))

        async def increment() -> None:
            while True:
                loaded = await store.load(ROOM)
                assert loaded is not None
                value = unpack_fields(loaded.fields)["n"]
                step = change(set={"n": value + 1}, expect=pack_fields({"n": value}))
                if isinstance(await store.commit(ROOM, step), Commit):
                    return

        await asyncio.gather(*(increment() for _ in range(20)))
        loaded = await store.load(ROOM)
        assert loaded is not None
        assert (loaded.version, unpack_fields(loaded.fields)) == (21, {"n": 20})
