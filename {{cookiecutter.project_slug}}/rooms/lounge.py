"""A chat for users who are logged in."""

from typing import Annotated

from msgspec import Meta

from gospa import Draft, Room, Session, action

KEPT = 50
Text = Annotated[str, Meta(min_length=1, max_length=500)]


class Lounge(Room):
    """For users only; logging out removes the user."""

    pattern = "lounge"
    initial = {"said": []}

    async def authorize(self, session: Session) -> bool:
        return session.user is not None

    @action
    def say(self, state: Draft, text: Text, session: Session) -> None:
        state["said"] = [*state["said"], {"by": session.user, "text": text}][-KEPT:]
