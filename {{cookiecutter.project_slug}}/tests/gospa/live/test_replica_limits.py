from collections.abc import Sequence

import pytest

from gospa.live.replica import Link, Replica
from gospa.live.wire import Patch
from gospa.store.contract import NO_TAG, Snapshot


def equal(tag: bytes) -> bytes:
    """The same tag in another object, as one that came over the network is."""
    return bytes(bytearray(tag))


def follow(tags: Sequence[bytes], frame: bytes = b"frame") -> Replica:
    """A replica of a room from its first commit on."""
    replica, parent = Replica(Snapshot(0, NO_TAG, {})), NO_TAG
    for version, tag in enumerate(tags, 1):
        replica.apply(Patch(version, equal(parent), tag, {}, ()), frame)
        parent = tag
    return replica


def numbered(count: int) -> list[bytes]:
    return [number.to_bytes(8) for number in range(1, count + 1)]


@pytest.mark.parametrize("unknown", [b"tag-0000", b"tag-0002", b"tag-0004"])
def test_a_tag_between_others_is_as_unknown_as_any(unknown: bytes) -> None:
    replica = follow([b"tag-0003", b"tag-0001"])
    assert replica.knows(equal(b"tag-0001"))
    assert replica.knows(equal(b"tag-0003"))
    assert not replica.knows(unknown)
    assert replica.missed(unknown) is None


def test_later_is_what_came_later_whatever_the_tags_are() -> None:
    first, second, third = b"tag-0008", b"tag-0009", b"tag-0001"
    replica = follow([first, second, third])
    assert replica.passed(equal(second), since=equal(first))
    assert replica.passed(equal(third), since=equal(second))
    assert not replica.passed(equal(first), since=equal(second))
    assert not replica.passed(equal(second), since=equal(third))
    assert not replica.passed(NO_TAG, since=equal(first))


@pytest.mark.parametrize("other", [b"tag-0001", b"tag-0003"])
def test_of_a_room_just_loaded_only_its_own_commit_is_known(other: bytes) -> None:
    replica = Replica(Snapshot(7, b"tag-0002", {}))
    assert replica.knows(equal(b"tag-0002"))
    assert not replica.knows(other)
    assert replica.passed(equal(b"tag-0002"), since=equal(b"tag-0002"))
    assert not replica.passed(other, since=b"tag-0002")
    assert replica.missed(equal(b"tag-0002")) == []
    assert replica.missed(other) is None


@pytest.mark.parametrize(
    ("version", "link"), [(6, Link.STRAY), (7, Link.STRAY), (8, Link.GAP), (9, Link.GAP)]
)
def test_only_a_later_version_shows_that_something_is_missing(version: int, link: Link) -> None:
    replica = Replica(Snapshot(7, b"tag-0002", {}))
    assert replica.apply(Patch(version, b"tag-0000", b"tag-0001", {}, ()), b"frame") is link


def test_nothing_is_missed_of_a_room_that_nobody_changed() -> None:
    assert Replica(Snapshot(0, equal(NO_TAG), {})).missed(equal(NO_TAG)) == []


def test_256_frames_are_kept() -> None:
    assert follow(numbered(256)).missed(equal(NO_TAG)) == [b"frame"] * 256
    assert follow(numbered(257)).missed(equal(NO_TAG)) is None


def test_256_kib_are_kept() -> None:
    assert follow(numbered(1), bytes(256 * 1024)).missed(NO_TAG) is not None
    assert follow(numbered(1), bytes(256 * 1024 + 1)).missed(NO_TAG) is None
    half = bytes(128 * 1024)
    assert follow(numbered(2), half).missed(NO_TAG) == [half, half]
    more = half + b"x"
    replica = follow(numbered(2), more)
    assert replica.missed(NO_TAG) is None
    assert replica.missed(numbered(1)[0]) == [more]
