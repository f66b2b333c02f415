from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.sessions.session import (
    Session,
    SessionTooLarge,
    decode,
    new_session,
    new_token,
    storage_key,
)
from server.state.codec import CodecError, pack


def session(**values: Any) -> Session:
    return Session("id", 100.0, 100.0, values)


def again(original: Session) -> Session:
    loaded = decode(original.encode(10_000))
    assert loaded is not None
    return loaded


def test_a_session_survives_its_bytes() -> None:
    loaded = again(session(user="ann", cart=[{"n": 1}]))
    assert (loaded.identity, loaded.created, loaded.renewed) == ("id", 100.0, 100.0)
    assert dict(loaded) == {"user": "ann", "cart": [{"n": 1}]}


@pytest.mark.parametrize(
    "raw", [b"", b"\xc1", b"junk", pack([1, 2]), pack(["id", 1.0, 1.0, []]), pack({"id": 1})]
)
def test_foreign_bytes_are_no_session(raw: bytes) -> None:
    assert decode(raw) is None


def test_changes_are_noticed_at_every_depth() -> None:
    loaded = again(session(cart=[{"n": 1}]))
    assert not loaded.changed
    loaded["cart"][0]["n"] = 2
    assert loaded.changed


def test_setting_the_same_value_is_no_change() -> None:
    loaded = again(session(a=1))
    loaded["a"] = 1
    assert not loaded.changed


def test_what_cannot_be_stored_is_named() -> None:
    with pytest.raises(CodecError, match="set"):
        session(a={1}).encode(10_000)
    with pytest.raises(CodecError, match="keys are text"):
        session()[1] = 1  # type: ignore[index]


def test_a_session_over_its_limit_is_refused_with_the_remedy() -> None:
    with pytest.raises(SessionTooLarge, match="GOSPA_SESSION_SIZE"):
        session(a="x" * 300).encode(256)


def test_idle_and_absolute_time_end_a_session() -> None:
    mine = session()
    assert mine.remaining(now=100.0, idle=10, absolute=50) == 10
    mine.renewed = 145.0
    assert mine.remaining(now=149.0, idle=10, absolute=50) == 1
    assert mine.remaining(now=150.0, idle=10, absolute=50) == 0


def test_renewal_is_due_after_a_tenth_of_the_idle_time() -> None:
    assert not session().due(now=109.0, idle=100)
    assert session().due(now=111.0, idle=100)


values = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3))


@given(values, values, values)
def test_two_requests_changes_merge_per_key(
    start: dict[str, int], mine: dict[str, int], theirs: dict[str, int]
) -> None:
    loaded = again(session(**start))
    for key in "abc":
        if key in mine:
            loaded[key] = mine[key]
        else:
            loaded.pop(key, None)
    merged = loaded.merged_into(session(**theirs))
    for key in "abc":
        expected = mine if mine.get(key) != start.get(key) else theirs
        assert merged.get(key) == expected.get(key)


def test_tokens_are_256_bits_and_only_their_hash_is_a_key() -> None:
    token = new_token()
    key = storage_key(token)
    assert key is not None
    assert len(token) == 43
    assert token not in key
    assert key == storage_key(token)
    assert new_session(0).identity != new_session(0).identity


@pytest.mark.parametrize(
    "token",
    [
        "",
        "null",
        "x" * 42,
        "x" * 44,
        "x" * 8192,
        "x" * 42 + "\0",
        "x" * 42 + "\n",
        "x" * 42 + "é",
        "x" * 42 + ":",
        "x" * 42 + "*",
        "x" * 41 + "{}",
        "%00" * 14 + "x",
    ],
)
def test_what_cannot_be_a_token_has_no_key(token: str) -> None:
    assert storage_key(token) is None
