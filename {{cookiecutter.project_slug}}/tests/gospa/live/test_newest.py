"""What a worker runs mutations on: its replica, or what commits and conflicts tell beyond it."""

import itertools
from collections import deque
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gospa.live.newest import Newest
from gospa.live.replica import Replica
from gospa.live.wire import Patch, patch_parts, read_patch
from gospa.store.codec import pack, pack_fields, unpack_fields
from gospa.store.content import UNKNOWN_EPOCH, Content, View
from gospa.store.contract import NO_TAG, Change, Commit, Conflict, Moved, Snapshot

KEYS = ("n", "notes/a", "notes/b", "notes/c")
_tags = itertools.count(1)


class Worker:
    """A replica, what is newest beside it, and the store that both follow."""

    def __init__(self, **stored: Any) -> None:
        fields = pack_fields({key.replace("__", "/"): value for key, value in stored.items()})
        self.version, self.tag = 5, b"tag-0005"
        self.stored = Content(fields, {})
        self.replica = Replica(Snapshot(self.version, self.tag, fields))
        self.newest = Newest(lambda: self.replica, self._follow)
        self.newest.refresh()
        self.late = deque[Patch]()  # what the replica has not received yet

    def commit(self, changed: dict[str, int], deleted: Iterable[str] = ()) -> tuple[Change, Commit]:
        """Have the store apply a change: by default, of another worker."""
        parts = pack_fields(changed), list(deleted)
        tag = next(_tags).to_bytes(8)
        change = Change(tag, True, patch_parts("a", tag, *parts), *parts)
        self.version, parent = self.version + 1, self.tag
        self.tag = tag
        self.stored.apply(*parts, tag)
        self.late.append(Patch(self.version, parent, tag, *parts))
        return change, Commit(self.version, parent)

    def own(self, changed: dict[str, int], deleted: Iterable[str] = ()) -> None:
        """A blind write of this worker."""
        self.newest.refresh()
        self.newest.follow(*self.commit(changed, deleted))

    def deliver(self, count: int = 1) -> None:
        for _ in range(min(count, len(self.late))):
            self._follow(self.late.popleft(), b"")

    def conflict(self, key: str, seen: bytes | None) -> None:
        """Learn that a key has another value than the one that was seen."""
        if self.stored.get(key) != seen:
            self.newest.learn(Conflict({key: self.stored.get(key)}))

    def snapshot(self) -> Snapshot:
        return Snapshot(self.version, self.tag, *self.stored.copied())

    def _follow(self, patch: Patch, _: bytes) -> None:
        self.replica.apply(patch, b"")


def shown(view: View) -> dict[str, Any]:
    raw = {key: view.get(key) for key in KEYS}
    return unpack_fields({key: each for key, each in raw.items() if each is not None})


def test_it_is_the_replica_where_that_has_all() -> None:
    worker = Worker(n=1)
    worker.commit({"n": 2})
    worker.deliver()
    worker.newest.refresh()
    assert (worker.newest.version, worker.newest.tag) == (worker.version, worker.tag)
    assert worker.newest.view is worker.replica.content


def test_a_commit_made_here_is_applied_to_the_replica_at_once() -> None:
    worker = Worker(n=1)
    worker.own({"n": 2})
    assert worker.replica.tag == worker.tag
    assert shown(worker.replica.content) == {"n": 2}


def test_what_is_handed_on_of_a_commit_is_the_message_that_the_store_publishes() -> None:
    handed_on = list[tuple[Patch, bytes]]()
    replica = Replica(Snapshot(5, b"tag-0005", {}))
    newest = Newest(lambda: replica, lambda *each: handed_on.append(each))
    fields, tag = pack_fields({"n": 1, "%visits/a": 2}), b"tag-0006"
    change = Change(tag, True, patch_parts("a", tag, fields, ["x"]), fields, ["x"])
    newest.follow(change, Commit(6, b"tag-0005"))
    ((patch, message),) = handed_on
    assert read_patch(message) == patch
    assert patch == Patch(6, b"tag-0005", tag, pack_fields({"n": 1}), ["x"])


def test_own_commits_on_a_replica_that_is_behind_are_laid_over_it() -> None:
    worker = Worker(n=1)
    worker.newest.learn(Moved(worker.snapshot()))
    worker.commit({"n": 2, "notes/a": 1})
    worker.newest.learn(Moved(worker.snapshot()))
    worker.own({"notes/b": 1})
    worker.own({}, ["notes/a"])
    worker.newest.refresh()
    assert worker.replica.version == 5
    assert shown(worker.newest.view) == {"n": 2, "notes/b": 1}
    assert (worker.newest.version, worker.newest.tag) == (8, worker.tag)
    assert worker.newest.view.epoch("notes") == worker.tag


def test_it_is_the_replica_again_once_that_is_as_new() -> None:
    worker = Worker(n=1)
    worker.commit({"n": 2})
    worker.own({"notes/a": 1})
    worker.newest.refresh()
    assert worker.newest.version == 7
    worker.deliver(1)
    worker.newest.refresh()
    assert worker.newest.view is not worker.replica.content
    worker.deliver(1)
    worker.newest.refresh()
    assert worker.newest.view is worker.replica.content


def test_a_commit_on_one_that_is_not_known_here_has_no_tag_to_expect() -> None:
    worker = Worker(n=1)
    worker.commit({"n": 2})
    worker.own({"notes/a": 1})
    assert worker.newest.tag == NO_TAG
    assert worker.newest.view.epoch("notes") == UNKNOWN_EPOCH


def test_a_conflict_gives_values_and_takes_the_tag() -> None:
    worker = Worker(n=1)
    worker.newest.learn(Conflict({**pack_fields({"n": 2}), "notes/a": None}))
    assert (shown(worker.newest.view), worker.newest.tag) == ({"n": 2}, NO_TAG)
    assert shown(worker.replica.content) == {"n": 1}
    worker.newest.refresh()
    assert shown(worker.newest.view) == {"n": 1}, "the next mutations begin with the replica"


@pytest.mark.parametrize("gone", [True, False])
def test_a_room_that_moved_is_known_as_the_store_has_it(gone: bool) -> None:
    worker = Worker(n=1)
    worker.commit({"notes/a": 1})
    worker.newest.learn(Moved(None if gone else worker.snapshot()))
    expected = (0, NO_TAG, {}, b"") if gone else (6, worker.tag, {"n": 1, "notes/a": 1}, worker.tag)
    newest = worker.newest
    assert (newest.version, newest.tag, shown(newest.view), newest.view.epoch("notes")) == expected


def test_of_a_chain_that_was_replaced_nothing_is_kept() -> None:
    worker = Worker(n=1)
    worker.commit({"n": 2})
    worker.own({"n": 3})
    worker.replica = Replica(Snapshot(1, b"tag-0001", {}))
    worker.newest.reset()
    worker.newest.refresh()
    assert (worker.newest.version, worker.newest.tag, shown(worker.newest.view)) == (
        1,
        b"tag-0001",
        {},
    )


steps = st.lists(
    st.tuples(
        st.sampled_from(["own", "other"]), st.sampled_from(KEYS), st.none() | st.integers(0, 2)
    )
    | st.tuples(st.just("deliver"), st.integers(1, 3))
    | st.tuples(st.just("conflict"), st.sampled_from(KEYS))
    | st.just(("moved",)),
    max_size=25,
)


@given(st.sets(st.sampled_from(KEYS)), steps)
def test_what_the_store_would_confirm_is_so(
    start: set[str], program: list[tuple[Any, ...]]
) -> None:
    """If the tag is the store's, all is; if an epoch is, the ids of that collection are."""
    worker = Worker(**{key.replace("/", "__"): 0 for key in start})
    for step in program:
        match step:
            case ("own" | "other" as who, key, value):
                written: tuple[Any, ...] = ({}, [key]) if value is None else ({key: value}, [])
                (worker.own if who == "own" else worker.commit)(*written)
            case ("deliver", count):
                worker.deliver(count)
            case ("conflict", key):
                worker.newest.refresh()
                worker.conflict(key, worker.newest.view.get(key))
            case _:
                worker.newest.learn(Moved(worker.snapshot()))
        view, stored = worker.newest.view, worker.stored
        if view.epoch("notes") == stored.epoch("notes"):
            assert [*view.ids("notes")] == [*stored.ids("notes")]
            assert view.count("notes") == stored.count("notes")
        worker.newest.refresh()
        if worker.newest.tag == worker.tag:
            assert shown(worker.newest.view) == shown(stored)
            assert worker.newest.view.size == stored.size


def test_an_item_that_another_deleted_is_not_counted_though_it_was_set_here() -> None:
    """The worker missed a commit, set the item without a look, and then is late by one."""
    worker = Worker(notes__a=1)
    worker.commit({"n": 1})
    worker.own({"notes/a": 2})
    worker.commit({}, ["notes/a"])
    worker.own({"n": 3})
    worker.deliver(3)
    worker.newest.refresh()
    view = worker.newest.view
    assert view.get("notes/a") == pack(2)
    assert view.epoch("notes") != worker.stored.epoch("notes")


def test_keys_that_only_the_store_has_take_no_room_here_whatever_tells_of_it() -> None:
    """Else a room could be full after one answer of the store, and not after another."""
    worker = Worker(n=1)
    before = worker.newest.view.size
    hidden = pack_fields({"n": 1, "%visits/a": "x" * 1000})
    worker.newest.learn(Moved(Snapshot(6, b"tag-0006", hidden)))
    assert worker.newest.view.size == before
