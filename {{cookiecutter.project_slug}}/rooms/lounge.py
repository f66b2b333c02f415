"""A chat for users who are logged in."""

from typing import Annotated

from msgspec import Meta

from gospa import Draft, Member, Room, Session, action

KEPT = 50
Text = Annotated[str, Meta(min_length=1, max_length=500)]


class Lounge(Room):
    """For users only; logging out removes the user."""

    pattern = "lounge"
    initial = {"said": []}

    async def authorize(self, session: Session) -> bool:
        return session.user is not None

    @action
    def say(self, state: Draft, member: Member, text: Text) -> None:
        state["said"] = [*state["said"], {"by": member.user, "text": text}][-KEPT:]
