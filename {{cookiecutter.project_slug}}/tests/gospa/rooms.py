"""Rooms for the engine's tests, which know none of the application's."""

from typing import Annotated

from msgspec import Meta, Struct

from gospa import Access, Event, Items, Member, Room, RoomError, Session, State, Writable, action

Text = Annotated[str, Meta(min_length=1, max_length=500)]


class Note(Struct):
    text: Text


class SheetState(State):
    count: int = 0
    notes: Items[Note] = Items()


class Sheet(Room[SheetState]):
    """A counter and notes."""

    pattern = "sheet/<name>"
    presence = True
    typing = Event(object)
    announced = Event(str, server=True)

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def add(self, state: SheetState, amount: int = 1) -> int:
        state.count += amount
        return state.count

    @action
    def add_note(self, state: SheetState, text: Text) -> str:
        return state.notes.append(Note(text))

    @action
    def edit_note(self, state: SheetState, id: str, text: Text) -> None:
        self._note(state, id).text = text

    @action
    def remove_note(self, state: SheetState, id: str) -> None:
        self._note(state, id)
        del state.notes[id]

    def _note(self, state: SheetState, id: str) -> Note:
        if id not in state.notes:
            raise RoomError("this note was removed")
        return state.notes[id]


class MyState(State):
    note: Writable[Annotated[str, Meta(max_length=2000)]] = ""


class Mine(Room[MyState]):
    """Each session has its own, whose field its members write."""

    pattern = "my"
    scope = "session"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL


class UsersState(State):
    last: list[str] = []


class Users(Room[UsersState]):
    """A room for those who are logged in."""

    pattern = "users"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL if session.user else Access.NONE

    @action
    def say(self, state: UsersState, member: Member, text: Text) -> None:
        assert member.user is not None
        state.last = [member.user, text]


ROOMS = [Sheet, Mine, Users]
