from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gospa.sessions.session import Session, SessionTooLarge, decode, new_session, read_token
from gospa.store.codec import CodecError, encode, pack


def session(**values: Any) -> Session:
    return Session("id", 100.0, 100.0, pack(values))


def again(original: Session) -> Session:
    loaded = decode(original.encode(10_000))
    assert loaded is not None
    return loaded


def test_a_session_survives_its_bytes() -> None:
    loaded = again(session(user="ann", cart=[{"n": 1}]))
    assert (loaded.identity, loaded.created, loaded.renewed) == ("id", 100.0, 100.0)
    assert dict(loaded) == {"user": "ann", "cart": [{"n": 1}]}


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"\xc1", b"junk", pack([1, 2]), pack({"id": 1})),
        pack(["id", 1.0, 1.0, {}]),  # as an older release might have written it
        pack(["id", 1.0, 1.0, [None, b"", b"", 0.0], []]),
        pack(["id", 1.0, 1.0, [1, b"", b"", 0.0], {}]),
        pack(["id", 1.0, 1.0, [None, b"", b"", 0.0], {}, "more"]),  # as a newer one might
        pack(["id", nan, 1.0, [None, b"", b"", 0.0], {}]),
        pack(["id", 1.0, inf, [None, b"", b"", 0.0], {}]),
        encode(["id", 1.0, 1.0, [None, b"", b"", 0.0], {b"key": 1}]),
        session().encode(10_000)[:-1],
        session().encode(10_000) + b"\xc0",
    ],
)
def test_foreign_truncated_and_older_bytes_are_no_session(raw: bytes) -> None:
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


def test_a_session_that_is_needed_is_stored_once_also_without_values() -> None:
    new = session()
    before = new.changed
    new.need()
    assert (before, new.changed) == (False, True)
    stored = again(new)
    stored.need()
    assert not stored.changed


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
    assert merged is not None
    for key in "abc":
        expected = mine if mine.get(key) != start.get(key) else theirs
        assert merged.get(key) == expected.get(key)


def test_a_clock_that_was_set_back_lengthens_no_session() -> None:
    assert session().remaining(now=40.0, idle=10, absolute=50) == 10
    assert session().due(now=40.0, idle=10)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_no_session_lasts_longer_than_either_limit(
    created: float, renewed: float, now: float
) -> None:
    mine = Session("id", created, renewed)
    assert mine.remaining(now, idle=10, absolute=50) <= 10
    assert mine.remaining(now, idle=50, absolute=10) <= 10


def test_of_two_new_tokens_one_stands() -> None:
    one, other = again(session()), again(session())
    token = one.rotate(100.0, 10)
    stored = one.merged_into(session())
    assert stored is not None
    assert stored.opened_by(token[-43:])
    other.rotate(100.0, 10)
    assert other.merged_into(stored) is None


def test_a_change_beside_a_login_keeps_the_login() -> None:
    login, change = again(session()), again(session())
    login.log_in("ann", 120.0)
    login.rotate(120.0, 10)
    change["a"] = 1
    merged = change.merged_into(again(login))
    assert merged is not None
    assert (merged.user, dict(merged)) == ("ann", {"a": 1})
    assert merged.credentials == login.credentials
    assert merged.created == 120.0


def test_a_token_that_was_replaced_opens_for_a_moment() -> None:
    mine = session()
    first = mine.rotate(100.0, 10)[-43:]
    second = mine.rotate(100.0, 10)[-43:]
    assert (mine.opened_by(first), mine.opened_by(second)) == (False, True)
    for now, opened in ((100.0, True), (109.9, True), (110.0, False), (50.0, False)):
        assert mine.was_opened_by(first, now, 10) is opened
        assert not mine.was_opened_by(second, now, 10)
        assert not mine.is_barred(first, now, 10)
    mine.rotate(101.0, 10)
    assert not mine.was_opened_by(first, 101.0, 10)


def test_a_session_without_a_token_is_opened_by_nothing() -> None:
    for secret in ("", "x", "x" * 43):
        assert not Session("id", 1.0, 1.0).opened_by(secret)
        assert not session().was_opened_by(secret, 100.0, 10)


def test_flash_messages_are_told_once_in_their_order() -> None:
    mine = session(a=1)
    mine.flash("first")
    mine.flash("second")
    loaded = again(mine)
    assert loaded.take_flashes() == ["first", "second"]
    assert (loaded.take_flashes(), dict(loaded)) == ([], {"a": 1})


def test_a_flash_message_beside_another_is_kept() -> None:
    one, other = again(session()), again(session())
    one.flash("one")
    other.flash("other")
    merged = one.merged_into(other)
    assert merged is not None
    assert sorted(merged.take_flashes()) == ["one", "other"]


def test_a_token_has_256_secret_bits_and_its_hash_is_kept_alone() -> None:
    mine = new_session(0.0)
    token = mine.rotate(0.0, 0)
    assert read_token(token) == (mine.identity, token[32:])
    assert len(token[32:]) == 43
    assert token[32:].encode() not in mine.encode(10_000)
    assert new_session(0.0).identity != mine.identity


@pytest.mark.parametrize(
    "token",
    [
        "",
        "null",
        "0" * 32 + "x" * 42,
        "0" * 32 + "x" * 44,
        "x" * 75,
        "x" * 8192,
        "0" * 32 + "x" * 42 + "\0",
        "0" * 32 + "x" * 43 + "\n",
        "0" * 32 + "x" * 42 + "é",
        "0" * 31 + ":" + "x" * 43,
        "0" * 31 + "*" + "x" * 43,
        "0" * 30 + "{}" + "x" * 43,
        "%00" * 25,
        "\u0660" * 32 + "x" * 43,
    ],
)
def test_what_cannot_be_a_token_is_none(token: str) -> None:
    assert read_token(token) is None


def test_a_barred_token_is_recognized_for_the_grace_and_opens_nothing() -> None:
    mine = session()
    first = mine.rotate(100.0, 10)[-43:]
    second = mine.rotate(100.0, 10, bar=True)[-43:]
    for now, recognized in ((100.0, True), (109.0, True), (110.0, False), (99.0, False)):
        assert mine.is_barred(first, now, 10) is recognized
        assert not mine.was_opened_by(first, now, 10)
        assert not mine.is_barred(second, now, 10)
    assert mine.opened_by(second)


def test_a_first_token_bars_none() -> None:
    mine = session()
    token = mine.rotate(100.0, 10, bar=True)
    assert mine.opened_by(token[-43:])
    assert not mine.is_barred("", 100.0, 10)
