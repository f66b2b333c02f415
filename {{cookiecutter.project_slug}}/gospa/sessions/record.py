"""A session as a request has it: what was read from the store, and what is due when it succeeds."""

from dataclasses import dataclass
from enum import Enum, auto

from gospa.sessions.session import Session


class Due(Enum):
    """The action that is due when the request succeeds."""

    NOTHING = auto()  # save the session if it changed
    NEW_TOKEN = auto()
    LOG_IN = auto()


@dataclass(slots=True)
class SessionRecord:
    """A session and its status in the store."""

    session: Session
    raw: bytes | None = None
    """The stored bytes it was read from; None if it is not stored."""
    token: str | None = None
    """A new token that has to be sent to the client."""
    replaced: bool = False
    """Whether the client sent a token that has been replaced."""
    barred: bool = False
    """Whether a log-in replaced that token: this is an empty session, which is not stored."""
    due: Due = Due.NOTHING
    network: str = ""
    """The client's, "" if it is not known."""
