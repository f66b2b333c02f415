"""Who uses a room, and what for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gospa.sessions.session import Session


class Access(Enum):
    """What the holder of a session may do in a room."""

    NONE = "none"
    READ = "read"  # see the state and events; no actions, commands, writes or events
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Member:
    """A client of a session, such as a tab, or the application itself (`server`).

    In an action that a command calls, it is whose command it is, with `server` set.

    `id` is the one under which other members see a client, and `user` who is logged in there.
    `info` is what `Room.introduce` says of its session. `claims` is what the client says of itself:
    nobody has verified that. In `left`, there may be no session any more.
    """

    id: str = ""
    user: str | None = None
    server: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)
    claims: Any = None
    session: Session | None = None


SERVER = Member(server=True)


def member_of(id: str, session: Session) -> Member:
    """A client of a session."""
    return Member(id, session.user, session=session)
