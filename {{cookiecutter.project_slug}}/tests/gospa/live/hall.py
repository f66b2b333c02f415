"""A room whose members differ in what they may do."""

from collections.abc import Mapping
from typing import Any

from gospa import (
    Access,
    Caller,
    Event,
    Member,
    Room,
    Session,
    State,
    Writable,
    action,
    command,
)

HALL = "hall/a"


class HallState(State):
    title: Writable[str] = ""
    notes: Writable[str] = ""
    spoken: int = 0


class Hall(Room[HallState]):
    """Users speak, visitors watch, and the banned stay outside."""

    pattern = "hall/<name>"
    waved = Event(str)

    async def authorize(self, session: Session) -> Access:
        if session.get("banned"):
            return Access.NONE
        return Access.FULL if session.user and not session.get("muted") else Access.READ

    def allows(self, member: Member, name: str) -> bool:
        if self.app.ctx.broken:
            raise ZeroDivisionError
        assert member.session is not None
        return name not in member.session.get("forbidden", [])

    def introduce(self, session: Session) -> Mapping[str, Any]:
        return {"name": session.get("name", "somebody")}

    @action
    def speak(self, state: HallState, member: Member) -> list[Any]:
        state.spoken += 1
        return [member.user, member.info, member.claims]

    @command
    async def shout(self, caller: Caller) -> list[Any]:
        return [caller.id != "", caller.user, caller.member.info, caller.member.server]
