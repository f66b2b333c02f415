"""Rooms with lists of their members, and what a client sees in one."""

from collections.abc import Callable, Mapping
from typing import Any

from gospa import Access, Room, Session, State
from tests.gospa.raw_client import RawClient

TABS, PEOPLE = "tabs#members", "party#members"

Seen = Callable[[dict[str, Any]], bool]


class _Open(Room[State]):
    pattern = "open"

    async def authorize(self, session: Session) -> Access:
        return Access.NONE if session.get("banned") else Access.FULL

    def introduce(self, session: Session) -> Mapping[str, Any]:
        return {"name": session["name"]} if "name" in session else {}


class Tabs(_Open):
    pattern = "tabs"
    presence = True


class Party(_Open):
    pattern = "party"
    presence = "people"


def listed(state: dict[str, Any]) -> dict[str, Any]:
    """The people of a list, by the id of their item."""
    return {k.removeprefix("people/"): v for k, v in state.items() if k.startswith("people/")}


def has(count: int, *people: str) -> Seen:
    """Whether a list has so many members, and shows these."""
    return lambda state: state["count"] == count and sorted(listed(state)) == sorted(people)


def id_of(client: RawClient) -> str:
    return str(client.welcome[2])
