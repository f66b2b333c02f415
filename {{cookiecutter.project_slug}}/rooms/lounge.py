"""A chat for users who are logged in."""

from typing import Annotated

from msgspec import Meta, Struct

from gospa import Access, Items, Member, Room, Session, State, action

Text = Annotated[str, Meta(min_length=1, max_length=500)]


class Line(Struct, frozen=True):
    by: str | None
    text: Text


class LoungeState(State):
    said: Items[Line] = Items(keep=50)


class Lounge(Room[LoungeState]):
    """For users only; logging out removes the user."""

    pattern = "lounge"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL if session.user else Access.NONE

    @action
    def say(self, state: LoungeState, member: Member, text: Text) -> None:
        state.said.append(Line(member.user, text))
