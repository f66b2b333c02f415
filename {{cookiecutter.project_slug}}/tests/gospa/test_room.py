"""Definitions of rooms: what cannot work is refused where it is written."""

from typing import Annotated, Any

import pytest

from gospa.action import Event, action
from gospa.command import Caller, command
from gospa.errors import DefinitionError
from gospa.member import Access, Member
from gospa.room import Room
from gospa.sessions.session import Session
from gospa.state import State


class Other(State):
    n: int = 0


async def authorize(self: Room[State], session: Session) -> Access:
    return Access.FULL


def define(**body: Any) -> type:
    return type("Wrong", (Room,), {"__orig_bases__": (Room[State],), **body})


async def _coroutine(self: Room[State], state: State) -> None: ...


def _late(self: Room[State], state: State, number: int, member: Member) -> None: ...


def _who(self: Room[State], state: State, who: Member) -> None: ...


def _optional(self: Room[State], state: State, member: Member | None = None) -> None: ...


def _noted(self: Room[State], state: State, member: Annotated[Member, "who"]) -> None: ...


def _session(self: Room[State], state: State, session: Session) -> None: ...


def _bare(self: Room[State], state: State, number) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


def _many(self: Room[State], state: State, *numbers: int) -> None: ...


def _shared(self: Room[State], state: State, tags: list[str] = ["a"]) -> None: ...  # noqa: B006


def _plain(self: Room[State], state: State) -> None: ...


def _stateless(self: Room[State]) -> None: ...


def _of_another(self: Room[State], state: Other) -> None: ...


async def _late_caller(self: Room[State], number: int, caller: Caller) -> None: ...


async def _member(self: Room[State], member: Member) -> None: ...


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"authorize": authorize}, "pattern"),
        ({"pattern": "x"}, "authorize"),
        ({"pattern": "x", "authorize": _plain}, "async def authorize"),
        ({"scope": "private"}, "shared, session, user"),
        ({"go": action(_coroutine)}, "async.*@command"),
        ({"go": action(_bare)}, "annotate number"),
        ({"go": action(_many)}, r"\*args"),
        ({"go": action(_late)}, "member: Member"),
        ({"go": action(_session)}, "comes before the arguments"),
        ({"go": action(_optional)}, "member: Member"),
        ({"go": action(_who)}, "call it `member: Member`"),
        ({"go": action(_noted)}, "member: Member"),
        ({"go": action(_stateless)}, "state: State"),  # type: ignore[arg-type]
        ({"go": action(_of_another)}, "state: State"),
        ({"go": command(_plain)}, "is not async"),  # type: ignore[arg-type]
        ({"go": command(_late_caller)}, "caller: Caller"),
        ({"go": command(_member)}, "caller: Caller"),  # else a client would say who it is
        ({"go": action(_shared)}, "go: .*default"),
        ({"version": 0}, "version is a whole number"),
        ({"version": "2"}, "version is a whole number"),
        ({"presence": "persons"}, "False, True, 'people'"),
        ({"authorize": action(_many)}, "authorize: rename it"),
        ({"presence": action(_plain)}, "Wrong.presence"),
        ({"_go": action(_plain)}, "Wrong._go"),
        ({"name": Event(str)}, "Wrong.name"),
        ({"state": action(_plain)}, "Wrong.state"),
    ],
)
def test_a_room_that_cannot_work_is_refused_where_it_is_defined(
    body: dict[str, Any], named: str
) -> None:
    sound = {"pattern": "x", "authorize": authorize}
    given = body if "pattern" in body or body == {"authorize": authorize} else {**sound, **body}
    with pytest.raises(DefinitionError, match=named):
        define(**given)


def test_a_room_names_its_state() -> None:
    with pytest.raises(DefinitionError, match=r"class Bare\(Room\[MyState\]\)"):
        type("Bare", (Room,), {"pattern": "x", "authorize": authorize})


def test_a_room_that_is_made_from_another_has_its_state_and_actions() -> None:
    class First(Room[Other]):
        pattern = "first"

        async def authorize(self, session: Session) -> Access:
            return Access.FULL

        @action
        def go(self, state: Other) -> None: ...

    class Second(First):
        pattern = "second"
        presence = "people"

        @action
        def stop(self, state: Other) -> None: ...

    assert Second.state is Other
    assert set(Second.actions) == {"go", "stop"}
    assert set(First.actions) == {"go"}


def test_a_room_is_named_by_its_parameters_whatever_they_hold() -> None:
    class Deep(Room[State]):
        pattern = "deep/<one>/x/<two>"

        async def authorize(self, session: Session) -> Access:
            return Access.FULL

    assert Deep.named(one="a", two="b c") == "deep/a/x/b c"
    assert Deep.named(one="a/b", two="{50%}#@") == "deep/a%2Fb/x/%7B50%25%7D%23%40"
    assert Deep.named(one="e\u0301", two="x") == "deep/\u00e9/x/x"
