"""What members and the application may do in a room, and with which arguments."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Struct

from gospa.action import Event, action, bind_action, bind_write, find_event
from gospa.command import command, find_command
from gospa.errors import Invalid, RoomError, Unauthorized, UnknownAction
from gospa.member import SERVER, Access, Member
from gospa.room import Room
from gospa.sessions.session import Session
from gospa.state import State, Writable
from gospa.store.codec import CodecError, encode, unpack_fields
from gospa.store.content import Content
from gospa.store.draft import Draft


class Place(Struct):
    x: int


class OpenState(State):
    n: int = 0
    players: list[str] = []
    title: Writable[str] = ""
    at: Writable[datetime | None] = None


class Open(Room[OpenState]):
    pattern = "open/<name>"
    moved = Event(Place)
    told = Event(str, server=True)

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    def allows(self, member: Member, name: str) -> bool:
        return member.user != f"not {name}"

    @action
    def plain(self, state: OpenState, number: int, text: str = "x") -> list[Any]:
        return [number, text]

    @action
    def who(self, state: OpenState, member: Member) -> Any:
        return [member.id, member.user, member.server]

    @action(server=True)
    def close(self, state: OpenState) -> str:
        return "closed"

    @action
    def start(self, state: OpenState, players: list[str], more: Any = None) -> None:
        state.players = players
        state.players.append("bot")
        more["seen"] = True

    @action
    def break_rules(self, state: OpenState, what: str) -> Any:
        if what == "the state":
            state.n = "text"  # type: ignore[assignment]
        return object() if what == "the result" else None

    @command
    async def take_time(self, number: int) -> int:
        return number

    def no_action(self, state: OpenState) -> None:
        raise AssertionError


ROOM = Open("open/a", {})
ANN = Member("1", "ann")


def draft(**fields: Any) -> Draft:
    return Draft(Content({key: encode(value) for key, value in fields.items()}, {}))


def run(name: str, member: Member = ANN, **args: Any) -> Any:
    return bind_action(ROOM, name, member, args)(draft())


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
    assert run("who") == ["1", "ann", False]
    assert run("who", SERVER) == ["", None, True]
    with pytest.raises(Invalid):
        bind_action(ROOM, "who", ANN, {"member": {}})


def test_an_action_of_the_application_is_not_for_members() -> None:
    with pytest.raises(Unauthorized, match="only the application may call close"):
        run("close")
    assert run("close", SERVER) == "closed"


def test_an_action_is_a_method_of_its_room() -> None:
    assert ROOM.plain(OpenState(), 1) == [1, "x"]


def test_arguments_are_named_by_their_places() -> None:
    named = Open.plain.signature.named
    assert named((1, "y"), {}) == {"number": 1, "text": "y"}
    assert named((1,), {"text": "y"}) == {"number": 1, "text": "y"}
    for args, kwargs in (((1, "y", 2), {}), ((1,), {"number": 2})):
        with pytest.raises(Invalid, match="number, text"):
            named(args, kwargs)


def test_an_action_that_runs_again_is_given_its_arguments_as_they_came() -> None:
    more: dict[str, Any] = {}
    runs = bind_action(ROOM, "start", ANN, {"players": ["ann"], "more": more})
    for _ in range(2):
        runs(fresh := draft())
        assert unpack_fields(fresh.edits().set) == {"players": ["ann", "bot"]}
    assert more == {}


@pytest.mark.parametrize("what", ["the state", "the result"])
def test_what_an_action_does_wrong_is_not_the_callers_mistake(what: str) -> None:
    with pytest.raises(CodecError) as failure:
        run("break_rules", what=what)
    assert not isinstance(failure.value, RoomError)


@pytest.mark.parametrize("name", ["no_action", "authorize", "__init__", "take_time", "", "plain "])
def test_only_actions_are_actions(name: str) -> None:
    with pytest.raises(UnknownAction):
        run(name)


@pytest.mark.parametrize("name", ["plain", "no_action", "authorize", ""])
def test_only_commands_are_commands(name: str) -> None:
    assert find_command(ROOM, "take_time") is Open.take_time
    with pytest.raises(UnknownAction):
        find_command(ROOM, name)


def test_the_payload_of_an_event_is_checked_and_sent_as_plain_values() -> None:
    assert Open.moved.payload({"x": 1}) == Open.moved.payload(Place(1)) == {"x": 1}
    for payload in ({"x": "1"}, 5, None):
        with pytest.raises(Invalid):
            Open.moved.payload(payload)


def test_an_event_of_the_application_is_not_for_members() -> None:
    assert find_event(ROOM, "moved", ANN) is Open.moved
    assert find_event(ROOM, "told", SERVER) is Open.told
    with pytest.raises(Unauthorized, match="only the application may send told"):
        find_event(ROOM, "told", ANN)
    with pytest.raises(Invalid, match="no event"):
        find_event(ROOM, "plain", ANN)


def test_writable_fields_are_written_with_their_types() -> None:
    now = datetime.now(UTC)
    write = bind_write(ROOM, ANN, {"at": now}, ["title"])
    write(old := draft(title="old"))
    assert unpack_fields(old.edits().set) == {"at": now}
    assert old.edits().delete == ("title",)


@pytest.mark.parametrize(
    ("values", "deleted"),
    [
        *(({"n": 1}, []), ({}, ["n"]), ({"title": 1}, []), ({"at": "2026"}, [])),
        *(({"$schema": 2}, []), ({}, ["$schema"]), ({"players/1": "x"}, []), ({"nothing": 1}, [])),
    ],
)
def test_other_keys_and_values_may_not_be_written(
    values: dict[str, Any], deleted: list[str]
) -> None:
    with pytest.raises(Invalid):
        bind_write(ROOM, ANN, values, deleted)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("plain", lambda member: bind_action(ROOM, "plain", member, {"number": 1})),
        ("title", lambda member: bind_write(ROOM, member, {"title": "x"}, [])),
        ("at", lambda member: bind_write(ROOM, member, {"title": "x"}, ["at"])),
        ("moved", lambda member: find_event(ROOM, "moved", member)),
        ("take_time", lambda member: Open.take_time.bind(ROOM, member, {"number": 1})),
    ],
)
def test_a_room_allows_each_action_field_event_and_command_by_itself(name: str, use: Any) -> None:
    with pytest.raises(Unauthorized, match=f"may not use {name} in open/a"):
        use(Member("1", f"not {name}"))
    use(Member("1", "not another"))
    use(Member(user=f"not {name}", server=True))
