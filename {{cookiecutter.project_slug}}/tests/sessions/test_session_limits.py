import pytest

from server.sessions.session import Session, SessionTooLarge, decode, new_session


def session(**values: str) -> Session:
    return Session("id", 100.0, 100.0, values)


def test_time_that_remains_is_counted_from_now() -> None:
    assert session().remaining(now=102.0, idle=10, absolute=1000) == 8
    assert session().remaining(now=102.0, idle=1000, absolute=10) == 8
    assert session().remaining(now=400.0, idle=10, absolute=1000) == -290


def test_renewal_is_due_only_after_more_than_a_tenth_of_the_idle_time() -> None:
    assert not session().due(now=110.0, idle=100)
    assert session().due(now=110.5, idle=100)
    assert session().due(now=350.0, idle=1000)


def test_a_session_may_take_just_as_many_bytes_as_are_allowed() -> None:
    full = session(text="x" * 100)
    size = len(full.encode(10_000))
    assert decode(full.encode(size)) is not None
    with pytest.raises(SessionTooLarge, match=f"takes {size} bytes and {size - 1} are allowed"):
        full.encode(size - 1)


def test_what_this_request_left_alone_is_as_the_other_one_stored_it() -> None:
    mine = session(left="as it was", changed="as it was")
    mine["changed"] = "mine"
    merged = mine.merged_into(session(left="theirs", changed="theirs"))
    assert merged is not None
    assert dict(merged) == {"left": "theirs", "changed": "mine"}


def test_an_identity_has_128_bits() -> None:
    assert len(bytes.fromhex(new_session(0).identity)) == 16
