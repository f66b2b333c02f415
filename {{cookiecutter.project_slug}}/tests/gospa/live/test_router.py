"""Names find their room, and nobody reaches another's by a name of any kind."""

import unicodedata
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sanic import Sanic

from gospa.errors import DefinitionError, Invalid, UnknownRoom
from gospa.live.router import LONGEST, Router
from gospa.member import Access
from gospa.room import Room
from gospa.sessions.session import Session, new_session, session_for
from gospa.state import State


class _Open(Room[State]):
    pattern = "never"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL


class Pair(_Open):
    pattern = "pair/<group>/<name>"
    presence = True


class Own(_Open):
    pattern = "own/<name>"
    scope = "session"


class Personal(_Open):
    pattern = "personal/<name>"
    scope = "user"


SESSION = new_session(0.0)
ROUTER = Router([Pair, Own, Personal])


def key(name: str, session: Session = SESSION) -> str:
    return ROUTER.resolve(name, session)[0]


def test_a_name_finds_its_room_and_its_parameters() -> None:
    found, room = ROUTER.resolve("pair/team 1/x.y", SESSION)
    assert (found, room.name) == ("pair/team 1/x.y", "pair/team 1/x.y")
    assert room.params == {"group": "team 1", "name": "x.y"}


@pytest.mark.parametrize(
    "name",
    [
        *("pair", "pair/a", "pair/a/b/c", "pair//b", "pair/a/", "Pair/a/b", "/pair/a/b"),
        *("pair/a/{b}", "pair/a/b@c", "pair/a/b#c", "pair/a/b\n", "pair/a/\u202eb", "pair/a/\0"),
        "pair/a/" + "x" * (LONGEST + 1),
        pytest.param("own/a@" + SESSION.identity, id="own@identity"),
        *("personal/a@user:ann", "pair/a/b#members", "own/a#members"),
    ],
)
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(UnknownRoom):
        key(name)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("pair/a/e\u0301", "\u00e9"),  # not NFC
        ("pair/a/%C3%A9", "\u00e9"),
        ("pair/a/%41", "A"),
        ("pair/a/%2f", "%2F"),
        ("pair/a/100%", "100%25"),
        ("pair/a/%FF", "UTF-8"),
    ],
)
def test_only_the_canonical_spelling_is_accepted(name: str, canonical: str) -> None:
    with pytest.raises(UnknownRoom, match=canonical):
        key(name)
    if canonical != "UTF-8":
        key(f"pair/a/{canonical}")


# Characters that mean something in names and keys come often.
printable = st.text(
    st.sampled_from("@#{}/%:.a2F\u00e9") | st.characters().filter(str.isprintable),
    min_size=1,
    max_size=20,
).filter(lambda text: 0 < len(unicodedata.normalize("NFC", text)) <= LONGEST)
texts = printable.filter(lambda text: unicodedata.normalize("NFC", text).isprintable())


def same(one: Any, other: Any) -> bool:
    return all(
        unicodedata.normalize("NFC", a) == unicodedata.normalize("NFC", b)
        for a, b in zip(one, other, strict=True)
    )


@given(st.tuples(texts, texts))
def test_any_printable_text_is_a_parameter_and_comes_back_in_nfc(params: tuple[str, str]) -> None:
    group, name = params
    _, room = ROUTER.resolve(Pair.named(group=group, name=name), SESSION)
    assert isinstance(room, Pair)
    assert same(room.params.values(), params)
    assert all(unicodedata.is_normalized("NFC", each) for each in room.params.values())


@given(st.tuples(texts, texts), st.tuples(texts, texts))
def test_two_rooms_share_a_key_only_if_they_are_the_same(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    keys = {key(Pair.named(group=group, name=name)) for group, name in (one, other)}
    assert (len(keys) == 1) is same(one, other)


@given(texts, texts, texts, texts)
def test_no_user_shares_a_room_with_another_or_with_a_session(
    user: str, other: str, name: str, another: str
) -> None:
    assume(not same([user], [other]))
    names = [Personal.named(name=each) for each in (name, another)]
    mine = {key(each, session_for(user)) for each in names}
    theirs = {key(each, session_for(other)) for each in names}
    nobodys = {key(each, new_session(0.0)) for each in names}
    assert mine.isdisjoint(theirs | nobodys)
    assert theirs.isdisjoint(nobodys)


@given(st.text(max_size=60), texts)
def test_no_name_means_a_room_of_another(name: str, user: str) -> None:
    forbidden = {
        found
        for each in ("own/a", "personal/a")
        for session in (session_for(user), SESSION)
        for found in (key(each, session), key(each, session) + "#members")
    }
    visitor = new_session(1.0)
    for tried in (name, *(f"pair/a/{part}" for part in forbidden), *forbidden):
        try:
            found, room = ROUTER.resolve(tried, visitor)
        except UnknownRoom:
            continue
        assert found not in forbidden
        assert room.scope == "shared" or found.startswith(f"{room.name}@")


def test_a_room_of_a_session_or_user_is_not_found_without_one() -> None:
    for name in ("own/a", "personal/a"):
        with pytest.raises(Invalid, match="for_user"):
            ROUTER.resolve(name, None)


def test_each_session_has_its_own_room_under_one_name() -> None:
    other = new_session(0.0)
    assert key("own/a") != key("own/a", other)
    assert ROUTER.resolve("own/a", other)[1].name == "own/a"


def test_a_users_room_is_the_same_in_all_sessions_and_another_without_a_log_in() -> None:
    keys = set()
    for spelling in ("Zo\u00eb", "Zoe\u0308"):
        session = new_session(0.0)
        keys.add(key("personal/a", session))
        session.log_in(spelling, 0.0)
        keys.add(key("personal/a", session))
    assert len(keys) == 3  # the user's, and that of each session before its log-in


def test_a_derived_room_is_that_of_its_own_kind() -> None:
    class List(_Open):
        pattern = "list"

        def __init__(self, room: Room[Any]) -> None:
            if not room.presence:
                raise UnknownRoom(room.name)
            super().__init__(f"{room.name}#list", room.params)

    router = Router([Pair, Own])
    router.derive("#list", List)
    assert router.resolve("pair/a/b#list", SESSION)[0] == "pair/a/b#list"
    for name in ("own/a#list", "pair/a/b#list#list", "#list", "pair/a#list"):
        with pytest.raises(UnknownRoom):
            router.resolve(name, SESSION)


def test_rooms_have_the_application() -> None:
    app = Sanic("routed")
    try:
        assert Router([Pair], app).resolve("pair/a/b", SESSION)[1].app is app
    finally:
        Sanic.unregister_app(app)


def test_two_kinds_for_one_pattern_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two kinds"):
        Router([Pair, Pair])


@pytest.mark.parametrize("pattern", ["room {x}", "a@b", "a#b", "a%20b", "<Name>", "caf\u00e9"])
def test_a_pattern_of_other_characters_is_refused(pattern: str) -> None:
    kind: Any = type("Wrong", (_Open,), {"pattern": pattern})
    with pytest.raises(DefinitionError, match="use letters"):
        Router([kind])


@pytest.mark.parametrize("pattern", ["x/<a>-<b>", "<a><b>", "x/<a>.y.<b>/<c>"])
def test_parameters_that_names_could_not_tell_apart_are_refused(pattern: str) -> None:
    kind: Any = type("Wrong", (_Open,), {"pattern": pattern})
    with pytest.raises(DefinitionError, match="a / between <a> and <b>"):
        Router([kind])


def test_a_parameter_has_one_place() -> None:
    kind: Any = type("Wrong", (_Open,), {"pattern": "x/<a>/<a>"})
    with pytest.raises(DefinitionError, match="a name of its own"):
        Router([kind])
