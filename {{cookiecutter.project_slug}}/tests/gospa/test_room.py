from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from msgspec import Struct

from gospa.action import (
    SERVER,
    Event,
    Member,
    action,
    bind_action,
    bind_write,
    find_event,
)
from gospa.errors import DefinitionError, Invalid, Unauthorized, UnknownAction, UnknownRoom
from gospa.live.router import Router
from gospa.room import Room
from gospa.sessions.session import Session, new_session
from gospa.store.codec import pack_fields
from gospa.store.draft import Draft


class Place(Struct):
    x: int


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
    def who(self, state: Draft, member: Member) -> Member:
        return member

    @action(server=True)
    def close(self, state: Draft) -> str:
        return "closed"

    moved = Event(Place)
    told = Event(str, server=True)

    def no_action(self, state: Draft) -> None:
        raise AssertionError


class Own(Open):
    pattern = "own"
    private = True


SESSION = new_session(0.0)
ANN = Member("ann", SESSION)


def run(name: str, **args: Any) -> Any:
    return bind_action(Open("open/a/b", {}), name, ANN, args)(Draft({}))


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


def test_the_member_is_given_by_the_server_and_cannot_be_sent() -> None:
    assert run("who") == ANN
    with pytest.raises(Invalid):
        run("who", member={})


def test_an_action_of_the_application_is_not_for_members() -> None:
    with pytest.raises(Unauthorized, match="only the application may call close"):
        run("close")
    assert bind_action(Open("open/a/b", {}), "close", SERVER, {})(Draft({})) == "closed"


def test_an_action_is_a_method_of_its_room() -> None:
    assert Open("open/a/b", {}).plain(Draft({}), 1) == [1, "x"]


def test_arguments_are_named_by_their_places() -> None:
    assert Open.plain.named((1, "y"), {}) == {"number": 1, "text": "y"}
    assert Open.plain.named((1,), {"text": "y"}) == {"number": 1, "text": "y"}
    for args, kwargs in (((1, "y", 2), {}), ((1,), {"number": 2})):
        with pytest.raises(Invalid, match="number, text"):
            Open.plain.named(args, kwargs)


def test_an_action_that_runs_again_is_given_its_arguments_as_they_came() -> None:
    class Game(Open):
        @action
        def start(self, state: Draft, players: list[str], more: Any = None) -> None:
            state["players"] = players
            state["players"].append("bot")
            more["seen"] = True

    more: dict[str, Any] = {}
    run = bind_action(Game("open/a/b", {}), "start", ANN, {"players": ["ann"], "more": more})
    for _ in range(2):
        run(draft := Draft({}))
        assert draft["players"] == ["ann", "bot"]
    assert more == {}


def test_the_payload_of_an_event_is_checked_and_sent_as_plain_values() -> None:
    assert Open.moved.payload({"x": 1}) == Open.moved.payload(Place(1)) == {"x": 1}
    for payload in ({"x": "1"}, 5, None):
        with pytest.raises(Invalid):
            Open.moved.payload(payload)


def test_an_event_of_the_application_is_not_for_members() -> None:
    room = Open("open/a/b", {})
    assert find_event(room, "moved", ANN) is Open.moved
    assert find_event(room, "told", SERVER) is Open.told
    with pytest.raises(Unauthorized, match="only the application may send told"):
        find_event(room, "told", ANN)
    with pytest.raises(Invalid, match="no event"):
        find_event(room, "plain", ANN)


@pytest.mark.parametrize("name", ["no_action", "authorize", "__init__", "bind_write", "", "plain "])
def test_only_actions_are_actions(name: str) -> None:
    with pytest.raises(UnknownAction):
        run(name)


def test_writable_keys_are_written_with_their_types() -> None:
    room = Open("open/a/b", {})
    now = datetime.now(UTC)
    draft = Draft(pack_fields({"title": "old"}))
    bind_write(room, {"at": now}, ["title"])(draft)
    assert dict(draft) == {"at": now}
    for values, deleted in (({"n": 1}, []), ({}, ["n"]), ({"title": 1}, []), ({"at": "2026"}, [])):
        with pytest.raises(Invalid):
            bind_write(room, values, deleted)


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


def test_a_private_room_is_not_found_without_a_session() -> None:
    with pytest.raises(Invalid, match="for_user"):
        Router([Own]).resolve("own", None)


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


def _late(self: Room, state: Draft, number: int, member: Member) -> None: ...


def _optional(self: Room, state: Draft, member: Member | None = None) -> None: ...


def _noted(self: Room, state: Draft, member: Annotated[Member, "who"]) -> None: ...


def _session(self: Room, state: Draft, session: Session) -> None: ...


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
        ({"pattern": "x", "authorize": _authorize, "go": action(_late)}, "right after the state"),
        ({"pattern": "x", "authorize": _authorize, "go": action(_session)}, "member: Member"),
        ({"pattern": "x", "authorize": _authorize, "go": action(_optional)}, "member: Member"),
        ({"pattern": "x", "authorize": _authorize, "go": action(_noted)}, "member: Member"),
        ({"pattern": "x", "authorize": action(_many)}, "authorize: rename it"),
        ({"pattern": "x", "authorize": _authorize, "private": action(_many)}, "Wrong.private"),
        ({"pattern": "x", "authorize": _authorize, "_go": action(_many)}, "Wrong._go"),
        ({"pattern": "x", "authorize": _authorize, "name": Event(str)}, "Wrong.name"),
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
