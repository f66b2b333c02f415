"""A board that everyone edits together: a counter and notes."""

import secrets
import time
from typing import Annotated

from msgspec import Meta

from gospa import Draft, Event, Room, RoomError, Session, action

Text = Annotated[str, Meta(min_length=1, max_length=500)]
Color = Annotated[int, Meta(ge=0, le=5)]
NoteId = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}$")]

MAX_NOTES = 200


class Board(Room):
    """Each note is a key of its own, so that edits of different notes never conflict."""

    pattern = "board/<name>"
    initial = {"count": 0, "notes": 0}
    presence = True
    typing = Event(str)  # the id of a note, "" for a new one

    async def authorize(self, session: Session) -> bool:
        return True

    @action
    def add(self, state: Draft, amount: int = 1) -> int:
        state["count"] += amount
        return state["count"]

    @action
    def add_note(self, state: Draft, text: Text, color: Color = 0, id: NoteId | None = None) -> str:
        """Add a note, under an id that the page chose so that it can show it at once."""
        if state["notes"] >= MAX_NOTES:
            raise RoomError(f"a board has room for {MAX_NOTES} notes: remove one first")
        note = id or secrets.token_hex(4)
        if f"note:{note}" in state:
            raise RoomError("a note with this id already exists")
        state["notes"] += 1
        state[f"note:{note}"] = {"text": text, "color": color, "at": int(time.time() * 1000)}
        return note

    @action
    def edit_note(self, state: Draft, id: str, text: Text) -> None:
        self._note(state, id)["text"] = text

    @action
    def remove_note(self, state: Draft, id: str) -> None:
        self._note(state, id)
        del state[f"note:{id}"]
        state["notes"] -= 1

    def _note(self, state: Draft, id: str) -> dict[str, object]:
        note = state.get(f"note:{id}")
        if note is None:
            raise RoomError("this note was removed")
        return note
