"""What a session may do in a room, as its `authorize` answers."""

from typing import Any

from gospa.errors import Unauthorized
from gospa.member import Access
from gospa.room import Room
from gospa.sessions.session import Session


async def access_of(room: Room[Any], session: Session) -> Access:
    """What `authorize` answers. Raises what it raises, and TypeError for anything else."""
    access: object = await room.authorize(session)
    if not isinstance(access, Access):
        text = f"{type(room).__name__}.authorize returned {access!r:.40}: return an Access"
        raise TypeError(text)
    return access


async def authorized(room: Room[Any], session: Session) -> Access:
    """What the session may do in a room that it may enter. Raises Unauthorized."""
    access = await access_of(room, session)
    if access is Access.NONE:
        raise Unauthorized(f"you may not enter {room.name}")
    return access
