"""Members of a room, and their access."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gospa.sessions.session import Session


class Access(Enum):
    """What a session may do in a room."""

    NONE = "none"
    READ = "read"  # see the state and events; no actions, commands, writes or events
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Member:
    """A client of a session, such as a tab, or the application itself (`server`).

    In an action that a command calls, it is the member who sent the command, with `server` set.

    Other members see the client under `id`. `user` is the user who is logged in there, `info` the
    result of `Room.introduce` for its session. `claims` is data that the client sent about itself,
    which is not verified. In `left`, `session` may be None.
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
