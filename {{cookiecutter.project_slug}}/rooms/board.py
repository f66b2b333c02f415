"""A board that everyone edits together: a counter and notes."""

from typing import Annotated

from msgspec import Meta, Struct

from gospa import Access, Event, Items, Room, RoomError, Session, State, action, alarm
from rooms.guest import STAY, Guest

Text = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"\S")]  # not only blanks
Name = Annotated[str, Meta(max_length=40)]
Color = Annotated[int, Meta(ge=0, le=5)]
MAX_COUNT = 2**53 - 1  # what a page can count exactly
Count = Annotated[int, Meta(ge=-MAX_COUNT, le=MAX_COUNT)]
Step = Annotated[int, Meta(ge=-100, le=100)]  # so that nobody takes the count to its end

MAX_NOTES = 200


class Note(Struct):
    text: Text
    color: Color = 0
    by: Name = ""  # as its author claims to be called


class Place(Struct):
    """Where somebody points: the note, and how far from its left and upper edge."""

    note: str
    x: Annotated[float, Meta(ge=0, le=1)]
    y: Annotated[float, Meta(ge=0, le=1)]


class BoardState(State):
    count: Count = 0
    notes: Items[Note] = Items()
    guest: Guest | None = None  # in a demonstration


class Board(Room[BoardState]):
    """Each note is an item, so that edits of different notes never conflict."""

    pattern = "board/<name>"
    presence = True
    typing = Event(str)  # the id of a note, "" for a new one
    pointing = Event(Place)

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def add(self, state: BoardState, amount: Step = 1) -> Count:
        if abs(state.count + amount) > MAX_COUNT:
            raise RoomError("the counter is at its end")
        state.count += amount
        return state.count

    @action
    def add_note(
        self,
        state: BoardState,
        text: Text,
        color: Color = 0,
        by: Name = "",
        id: str | None = None,
    ) -> str:
        """Add a note, under an id that the page chose so that it can show it at once."""
        if len(state.notes) >= MAX_NOTES:
            raise RoomError(f"a board has room for {MAX_NOTES} notes: remove one first")
        return state.notes.append(Note(text, color, by), id=id)

    @action
    def edit_note(self, state: BoardState, id: str, text: Text) -> None:
        if id not in state.notes:
            raise RoomError("this note was removed")
        state.notes[id].text = text

    @action
    def remove_note(self, state: BoardState, id: str) -> None:
        if id not in state.notes:
            raise RoomError("this note was removed")
        del state.notes[id]

    @action
    def invite(self, state: BoardState) -> None:
        """Have the guest come, or stay longer. Pages ask for it as long as somebody looks."""
        if not self.app.ctx.settings.demo:
            raise RoomError("a guest comes in demonstrations only (GOSPA_DEMO)")
        if state.guest is None:
            state.guest = Guest()
            state.wake(after=1)
        state.guest.left = STAY

    @alarm
    def play(self, state: BoardState) -> None:
        """The guest's turn. What others removed or changed meanwhile is not its note any more."""
        guest = state.guest
        if guest is None:
            return
        note = state.notes[guest.note] if guest.note in state.notes else None
        own = note if note and note.text == guest.text else None
        guest.left -= 1
        if guest.left < 0 or not self.app.ctx.settings.demo:
            if own:
                del state.notes[guest.note]
            del state.guest
            return
        guest.turn += 1
        if own:
            own.text = guest.text
        elif len(state.notes) < MAX_NOTES:
            guest.note = state.notes.append(Note(guest.text, color=4, by=guest.name))
        state.wake(after=guest.pause)
