from datetime import UTC, datetime
from typing import Any

import pytest

from gospa.live.router import Router
from gospa.room import DefinitionError, Invalid, Room, UnknownAction, UnknownRoom, action
from gospa.sessions.session import Session, new_session
from gospa.store.codec import pack_fields
from gospa.store.draft import Draft


class Open(Room):
    pattern = "open/<group>/<name>"
    initial = {"n": 0}
    writable = {"title": str, "at": datetime}

    async def authorize(self, session: Session) -> bool:
        return True

    @action
    def plain(self, state: Draft, number: int, text: str = "x") -> list[Any]:
        return [number, text]

    @action
    def who(self, state: Draft, caller: Session) -> str:
        return caller.identity

    def no_action(self, state: Draft) -> None:
        raise AssertionError


class Own(Open):
    pattern = "own"
    private = True


SESSION = new_session(0.0)


def run(name: str, **args: Any) -> Any:
    return Open("open/a/b", {}).bind_action(name, SESSION, args)(Draft({}))


def test_arguments_are_checked_and_defaults_filled_in() -> None:
    assert run("plain", number=1) == [1, "x"]
    assert run("plain", number=1, text="y") == [1, "y"]


@pytest.mark.parametrize(
    "args",
    [{}, {"number": "1"}, {"number": True}, {"number": None}, {"number": 1, "self": 1}],
)
def test_arguments_of_other_types_and_names_are_invalid(args: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        run("plain", **args)


def test_the_callers_session_cannot_be_sent() -> None:
    assert run("who") == SESSION.identity
    with pytest.raises(Invalid):
        run("who", caller={})


@pytest.mark.parametrize("name", ["no_action", "authorize", "__init__", "bind_write", "", "plain "])
def test_only_actions_are_actions(name: str) -> None:
    with pytest.raises(UnknownAction):
        run(name)


def test_writable_keys_are_written_with_their_types() -> None:
    room = Open("open/a/b", {})
    now = datetime.now(UTC)
    draft = Draft(pack_fields({"title": "old"}))
    room.bind_write({"at": now}, ["title"])(draft)
    assert dict(draft) == {"at": now}
    for values, deleted in (({"n": 1}, []), ({}, ["n"]), ({"title": 1}, []), ({"at": "2026"}, [])):
        with pytest.raises(Invalid):
            room.bind_write(values, deleted)


def test_names_find_their_room_and_its_parameters() -> None:
    directory = Router([Open, Own])
    key, room = directory.resolve("open/team-1/x.y", SESSION)
    assert key == "open/team-1/x.y"
    assert room.params == {"group": "team-1", "name": "x.y"}


@pytest.mark.parametrize(
    "name",
    [
        "open",
        "open/a",
        "open/a/b/c",
        "open//b",
        "open/a/{b}",
        "open/a/b\n",
        "Open/a/b",
        "own/x",
        "open/a/" + "x" * 65,
        "open/a/ü",
        "open/a/b:c",
        pytest.param("own@" + SESSION.identity, id="own@identity"),
    ],
)
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(UnknownRoom):
        Router([Open, Own]).resolve(name, SESSION)


def test_a_private_room_is_each_sessions_own() -> None:
    directory = Router([Own])
    other = new_session(0.0)
    assert directory.resolve("own", SESSION)[0] != directory.resolve("own", other)[0]
    assert directory.resolve("own", SESSION)[1].name == "own"


def test_two_kinds_for_one_pattern_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two kinds"):
        Router([Open, Open])


def define(**body: Any) -> type:
    return type("Wrong", (Room,), body)


async def _authorize(self: Room, session: Session) -> bool:
    return True


async def _coroutine(self: Room, state: Draft) -> None: ...


def _bare(self: Room, state: Draft, number) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


def _many(self: Room, state: Draft, *numbers: int) -> None: ...


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"authorize": _authorize}, "pattern"),
        ({"pattern": "x"}, "authorize"),
        ({"pattern": "x", "authorize": _authorize, "initial": {"a": {1}}}, "initial"),
        ({"pattern": "x", "authorize": _authorize, "go": action(_coroutine)}, "async"),
        ({"pattern": "x", "authorize": _authorize, "go": action(_bare)}, "annotate number"),
        ({"pattern": "x", "authorize": _authorize, "go": action(_many)}, r"\*args"),
    ],
)
def test_a_room_that_cannot_work_is_refused_where_it_is_defined(
    body: dict[str, Any], named: str
) -> None:
    with pytest.raises(DefinitionError, match=named):
        define(**body)


def test_a_pattern_of_other_characters_is_refused() -> None:
    with pytest.raises(DefinitionError, match="use letters"):
        Router([define(pattern="room {x}", authorize=_authorize)])
