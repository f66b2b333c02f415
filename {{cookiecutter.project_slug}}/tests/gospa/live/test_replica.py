import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gospa.live import wire
from gospa.live.replica import RING_FRAMES, Link, Replica
from gospa.live.wire import Patch
from gospa.store.codec import pack_fields
from gospa.store.content import Content
from gospa.store.contract import NO_TAG, Snapshot, splice

EMPTY = Snapshot(0, NO_TAG, {})
_tags = itertools.count(1)


def after(parent: Patch | None, value: int = 0) -> Patch:
    version, tag = (parent.version, parent.tag) if parent else (0, NO_TAG)
    return Patch(version + 1, tag, next(_tags).to_bytes(8), pack_fields({"n": value}), ())


def chain(length: int) -> list[Patch]:
    patches: list[Patch] = []
    for number in range(length):
        patches.append(after(patches[-1] if patches else None, number))
    return patches


def apply(replica: Replica, patch: Patch) -> Link:
    return replica.apply(patch, patch.tag)


def state(replica: Replica) -> Snapshot:
    """The room as the replica has it."""
    return Snapshot(replica.version, replica.tag, *replica.content.copied())


def test_a_patch_of_the_replicas_commit_is_applied() -> None:
    replica = Replica(EMPTY)
    patch = Patch(1, NO_TAG, b"tag-0001", pack_fields({"a": 1, "b": 2}), ())
    assert apply(replica, patch) is Link.NEXT
    assert apply(replica, Patch(2, b"tag-0001", b"tag-0002", {}, ["a"])) is Link.NEXT
    assert state(replica) == Snapshot(2, b"tag-0002", pack_fields({"b": 2}))


def test_a_patch_in_which_items_come_or_go_sets_the_epoch_of_their_collection() -> None:
    replica = Replica(Snapshot(1, b"tag-0001", pack_fields({"notes/a": 1}), {"notes": b"epoch"}))
    changes: list[tuple[dict[str, int], list[str], bytes]] = [
        ({"n": 1, "notes/a": 2}, [], b"epoch"),
        ({"notes/b": 1}, [], b"tag-0003"),
        ({"log/a": 1}, ["n", "notes/x"], b"tag-0003"),
        ({}, ["notes/a"], b"tag-0005"),
    ]
    for version, (changed, deleted, epoch) in enumerate(changes, 2):
        tag = f"tag-000{version}".encode()
        patch = Patch(version, replica.tag, tag, pack_fields(changed), deleted)
        assert apply(replica, patch) is Link.NEXT
        assert replica.content.epoch("notes") == epoch
    assert replica.content.epoch("log") == b"tag-0004"


def test_a_patch_that_is_not_the_next_changes_nothing() -> None:
    replica = Replica(EMPTY)
    one, two, three = chain(3)
    apply(replica, one)
    before = state(replica)
    for patch in (three, one, after(three)):
        apply(replica, patch)
        assert state(replica) == before
    assert apply(replica, two) is Link.NEXT


def test_a_patch_delivered_twice_is_known() -> None:
    replica = Replica(EMPTY)
    one, two = chain(2)
    apply(replica, one)
    apply(replica, two)
    assert apply(replica, one) is Link.KNOWN
    assert apply(replica, two) is Link.KNOWN


def test_a_patch_whose_parent_was_missed_is_a_gap() -> None:
    replica = Replica(EMPTY)
    one, _, three = chain(3)
    apply(replica, one)
    assert apply(replica, three) is Link.GAP
    assert replica.tag == one.tag


def test_a_store_that_went_back_and_counted_on_is_seen() -> None:
    replica = Replica(EMPTY)
    one, two = chain(2)
    apply(replica, one)
    apply(replica, two)
    assert apply(replica, after(after(one))) is Link.GAP
    assert apply(replica, after(one)) is Link.STRAY


def test_missed_frames_lead_from_a_tag_to_now() -> None:
    replica = Replica(EMPTY)
    patches = chain(5)
    for patch in patches:
        apply(replica, patch)
    assert replica.missed(patches[-1].tag) == []
    assert replica.missed(patches[1].tag) == [patch.tag for patch in patches[2:]]
    assert replica.missed(NO_TAG) == [patch.tag for patch in patches]
    assert replica.missed(os.urandom(8)) is None


def test_the_ring_is_bounded_in_frames_and_bytes() -> None:
    replica = Replica(EMPTY)
    patches = chain(RING_FRAMES + 1)
    for patch in patches:
        apply(replica, patch)
    assert replica.missed(NO_TAG) is None
    assert replica.missed(patches[0].tag) is not None
    big = after(patches[-1])
    replica.apply(big, bytes(2**20))
    assert replica.missed(patches[-1].tag) is None


def test_passed_tells_later_links_from_earlier_ones() -> None:
    replica = Replica(EMPTY)
    one, two, three = chain(3)
    for patch in (one, two, three):
        apply(replica, patch)
    assert replica.passed(two.tag, since=two.tag)
    assert replica.passed(three.tag, since=one.tag)
    assert not replica.passed(one.tag, since=two.tag)
    assert not replica.passed(NO_TAG, since=one.tag)
    assert not replica.passed(os.urandom(8), since=one.tag)


@given(st.lists(st.integers(0, 9), max_size=40))
def test_any_loss_doubling_and_reordering_shows_only_states_of_the_chain(
    order: list[int],
) -> None:
    patches = chain(10)
    states = [{}, *({"n": number} for number in range(10))]
    replica = Replica(EMPTY)
    for index in order:
        if apply(replica, patches[index]) is Link.GAP:
            patch = patches[index]
            replica = Replica(
                Snapshot(patch.version, patch.tag, pack_fields(states[patch.version]))
            )
        assert replica.content.fields == pack_fields(states[replica.version])


published_keys = st.text().filter(lambda key: not key.startswith("%"))


@pytest.mark.slow
@given(st.dictionaries(published_keys, st.integers(0, 2**64 - 1)), st.lists(published_keys))
def test_a_patch_is_read_from_its_frame(changed: dict[str, int], deleted: list[str]) -> None:
    fields = pack_fields(changed)
    frame = splice(wire.patch_parts("room", b"tag-0002", fields, deleted), 2**40, b"tag-0001")
    assert wire.read_patch(frame) == Patch(2**40, b"tag-0001", b"tag-0002", fields, deleted)


def test_keys_that_only_the_store_has_are_not_in_the_frame() -> None:
    fields, tag = pack_fields({"%visits/a": 1, "$visits/a": 2}), b"tag-0002"
    frame = splice(wire.patch_parts("room", tag, fields, ["%x", "$x"]), 2, b"tag-0001")
    patch = wire.read_patch(frame)
    assert (patch.set, patch.delete) == (pack_fields({"$visits/a": 2}), ["$x"])


class Member:
    """Shows what it is sent: a snapshot, or patches that have to fit."""

    def __init__(self) -> None:
        self.tag: bytes | None = None
        self.fields: dict[str, bytes] = {}

    def restart(self, snapshot: Snapshot) -> None:
        self.tag, self.fields = snapshot.tag, dict(snapshot.fields)

    def follow(self, patch: Patch) -> None:
        assert patch.parent == self.tag
        self.tag, self.fields = patch.tag, {**self.fields, **patch.set}
        for key in patch.delete:
            self.fields.pop(key, None)


class Model(RuleBasedStateMachine):
    """Commits that arrive, get lost, come late or twice; a store that rolls back; members."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = EMPTY
        self.history = {EMPTY.tag: EMPTY}
        self.published: dict[bytes, Patch] = {}
        self.replica = Replica(EMPTY)
        self.members: list[Member] = []

    @rule(
        key=st.sampled_from(["a", "notes/a", "notes/b"]),
        value=st.none() | st.integers(0, 9),
        arrives=st.booleans(),
    )
    def commit(self, key: str, value: int | None, *, arrives: bool) -> None:
        changed = {} if value is None else pack_fields({key: value})
        deleted = (key,) if value is None else ()
        tag = next(_tags).to_bytes(8)
        patch = Patch(self.stored.version + 1, self.stored.tag, tag, changed, deleted)
        content = Content(self.stored.fields, self.stored.epochs)
        content.apply(changed, deleted, tag)
        self.stored = Snapshot(patch.version, tag, *content.copied())
        self.history[tag] = self.stored
        self.published[tag] = patch
        if arrives:
            self.receive(patch)

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def arrive_late_or_again(self, data: st.DataObject) -> None:
        self.receive(data.draw(st.sampled_from(list(self.published.values()))))

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        self.stored = data.draw(st.sampled_from(list(self.history.values())))

    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        member = Member()
        known = data.draw(st.none() | st.sampled_from(list(self.history.values())))
        missed = None
        if known is not None:
            member.restart(known)
            missed = self.replica.missed(known.tag)
        if missed is None:
            member.restart(state(self.replica))
        for tag in missed or ():
            member.follow(self.published[tag])
        self.members.append(member)

    @rule()
    def compare_heads(self) -> None:
        if self.replica.tag != self.stored.tag:
            self.load()

    def receive(self, patch: Patch) -> None:
        match apply(self.replica, patch):
            case Link.NEXT:
                for member in self.members:
                    member.follow(patch)
            case Link.GAP:
                self.load()
            case Link.STRAY:
                self.compare_heads()

    def load(self) -> None:
        self.replica = Replica(self.stored)
        for member in self.members:
            member.restart(self.stored)

    @invariant()
    def every_state_shown_is_one_that_the_room_had(self) -> None:
        assert {member.tag for member in self.members} <= {self.replica.tag}
        assert state(self.replica) == self.history[self.replica.tag]
        for member in self.members:
            assert member.fields == self.replica.content.fields

    def teardown(self) -> None:
        self.compare_heads()
        self.every_state_shown_is_one_that_the_room_had()
        assert state(self.replica) == self.stored


TestModel = Model.TestCase
