import pytest

from gospa.sessions.session import Credentials, Session, SessionTooLarge, decode, new_session
from gospa.store.codec import pack, unpack


def session(**values: str) -> Session:
    return Session("id", 100.0, 100.0, pack(values))


def test_time_that_remains_is_counted_from_now() -> None:
    assert session().remaining(now=102.0, idle=10, absolute=1000) == 8
    assert session().remaining(now=102.0, idle=1000, absolute=10) == 8
    assert session().remaining(now=400.0, idle=10, absolute=1000) == -290


def test_renewal_is_due_only_after_more_than_a_tenth_of_the_idle_time() -> None:
    for now in (100.0, 100.5, 110.0):
        assert not session().due(now=now, idle=100)
    assert session().due(now=110.5, idle=100)
    assert session().due(now=350.0, idle=1000)


def test_a_clock_that_was_set_back_a_little_makes_renewal_due() -> None:
    assert session().due(now=99.5, idle=100)


def test_a_token_replaced_longer_ago_than_the_grace_opens_nothing() -> None:
    mine = session()
    first = mine.rotate(100.0, 10)[-43:]
    mine.rotate(100.0, 10)
    assert mine.was_opened_by(first, 109.5, 10)
    for now in (110.0, 110.5, 1000.0):
        assert not mine.was_opened_by(first, now, 10)


def test_what_opens_a_session_is_only_replaced_as_a_whole() -> None:
    assert not hasattr(Credentials(), "__dict__")
    with pytest.raises(AttributeError):
        Credentials().user = "ann"  # type: ignore[misc]


def test_a_login_of_who_is_logged_in_already_gives_way_to_a_new_token() -> None:
    mine, other = (
        Session("id", 100.0, 100.0, credentials=Credentials("ann", b"hash")) for _ in range(2)
    )
    mine.log_in("ann", 120.0)
    token = other.rotate(110.0, 10)
    merged = mine.merged_into(other)
    assert merged is not None
    assert merged.opened_by(token[-43:])


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


def test_a_session_is_stored_as_the_documentation_says() -> None:
    raw = session(a="x").encode(1000)
    assert unpack(raw) == ["id", 100.0, 100.0, [None, b"", b"", 0.0], {"a": "x"}]


@pytest.mark.parametrize("values", [("a", "b"), ("b", "a")])
def test_what_differs_in_any_way_is_changed(values: tuple[str, str]) -> None:
    loaded = session(value=values[0])
    loaded["value"] = values[1]
    assert loaded.changed


@pytest.mark.parametrize("token", [b"1", b"3"])
def test_any_other_token_counts_as_new(token: bytes) -> None:
    loaded, new = Credentials("ann", b"2"), Credentials("ann", token)
    mine = Session("id", 100.0, 100.0, credentials=loaded)
    mine.credentials = new
    merged = mine.merged_into(Session("id", 100.0, 100.0, credentials=loaded))
    assert merged is not None
    assert merged.credentials == new
    assert mine.merged_into(Session("id", 100.0, 100.0, credentials=new)) is None
