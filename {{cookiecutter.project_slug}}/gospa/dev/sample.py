"""Sample: members add entries, and see those of all others."""

from typing import Annotated

from msgspec import Meta, Struct

from gospa import Access, Items, Member, Room, RoomError, Session, State, Writable, action

Title = Annotated[str, Meta(min_length=1, max_length=80)]
Text = Annotated[str, Meta(min_length=1, max_length=500)]


class SampleEntry(Struct):
    text: Text
    by: str | None = None  # the user; entries of visitors without a log-in are anyone's


class SampleState(State):
    title: Writable[Title] = "Sample"  # members may set it directly
    entries: Items[SampleEntry] = Items()  # each is stored and compared by itself


class Sample(Room[SampleState]):
    pattern = "sample/<name>"

    async def authorize(self, session: Session) -> Access:
        """Everyone may do everything: Access.READ lets them only see it, Access.NONE nothing."""
        return Access.FULL

    @action
    def add(self, state: SampleState, member: Member, text: Text) -> str:
        return state.entries.append(SampleEntry(text, member.user))

    @action
    def remove(self, state: SampleState, member: Member, id: str) -> None:
        if id not in state.entries:
            raise RoomError("this entry was removed")
        if state.entries[id].by not in (None, member.user):
            raise RoomError("this entry is another user's")
        del state.entries[id]
