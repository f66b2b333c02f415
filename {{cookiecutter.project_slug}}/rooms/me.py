"""What only this visitor sees, in all of their tabs."""

from typing import Annotated

from msgspec import Meta

from gospa import Access, Room, Session, State, Writable


class MyState(State):
    note: Writable[Annotated[str, Meta(max_length=2000)]] = ""
    name: Writable[Annotated[str, Meta(max_length=40)]] = ""


class Me(Room[MyState]):
    """The visitor's own room: each session has one."""

    pattern = "me"
    scope = "session"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL
