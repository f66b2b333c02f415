"""What only this visitor sees, in all of their tabs."""

from typing import Annotated

from msgspec import Meta

from gospa import Room, Session


class Me(Room):
    """The visitor's own room: each session has one."""

    pattern = "me"
    private = True
    initial = {"note": "", "name": ""}
    writable = {
        "note": Annotated[str, Meta(max_length=2000)],
        "name": Annotated[str, Meta(max_length=40)],
    }

    async def authorize(self, session: Session) -> bool:
        return True
