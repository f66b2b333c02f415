"""Rooms for the engine's tests, which know none of the application's."""

import secrets
from typing import Annotated

from msgspec import Meta

from gospa import Draft, Event, Member, Room, RoomError, Session, action

Text = Annotated[str, Meta(min_length=1, max_length=500)]


class Sheet(Room):
    """A counter, and notes that are keys of their own."""

    pattern = "sheet/<name>"
    initial = {"count": 0, "notes": 0}
    presence = True
    typing = Event(object)
    announced = Event(str, server=True)

    async def authorize(self, session: Session) -> bool:
        return True

    @action
    def add(self, state: Draft, amount: int = 1) -> int:
        state["count"] += amount
        return int(state["count"])

    @action
    def add_note(self, state: Draft, text: Text) -> str:
        note = secrets.token_hex(4)
        state["notes"] += 1
        state[f"note:{note}"] = {"text": text}
        return note

    @action
    def edit_note(self, state: Draft, id: str, text: Text) -> None:
        self._note(state, id)["text"] = text

    @action
    def remove_note(self, state: Draft, id: str) -> None:
        self._note(state, id)
        del state[f"note:{id}"]
        state["notes"] -= 1

    def _note(self, state: Draft, id: str) -> dict[str, str]:
        note: dict[str, str] | None = state.get(f"note:{id}")
        if note is None:
            raise RoomError("this note was removed")
        return note


class Mine(Room):
    """Each session has its own, whose keys its members write."""

    pattern = "my"
    private = True
    initial = {"note": ""}
    writable = {"note": Annotated[str, Meta(max_length=2000)]}

    async def authorize(self, session: Session) -> bool:
        return True


class Users(Room):
    """A room for those who are logged in."""

    pattern = "users"
    initial = {"last": None}

    async def authorize(self, session: Session) -> bool:
        return session.user is not None

    @action
    def say(self, state: Draft, member: Member, text: Text) -> None:
        state["last"] = [member.user, text]


ROOMS = [Sheet, Mine, Users]
