"""Errors, by what a caller may do about them.

StoreError
├── StoreUnavailable   nobody answered, or not in time: try again later
│   ├── StoreUnreachable   there is no way to it from this host
│   ├── StoreReadOnly      it is a copy of another one
│   └── SchemaMismatch     the room is stored in the shape of another release
├── StoreFull          the store is out of memory: nothing was written
├── StoreDenied        its user may not do what the application needs
└── StoreCorrupt       what is stored is not what this application wrote
RoomError              a room refuses a request: nothing was changed
DefinitionError        a class of rooms cannot work as written
"""

from math import ceil


class StoreError(Exception):
    """A store could not do what it was asked to."""


class StoreUnavailable(StoreError):
    """The store gave no answer. A write may or may not have happened."""


class StoreUnreachable(StoreUnavailable):
    """The store's host cannot be reached from here; others may reach it."""


class StoreReadOnly(StoreUnavailable):
    """The store takes no writes: it is a copy of another one."""


class StoreDenied(StoreError):
    """The store refused a command for want of permission. Nothing was written."""


class SchemaMismatch(StoreUnavailable):
    """A room is stored in the shape of another release. Nothing was written."""


class StoreFull(StoreError):
    """The store refused a write because it is out of memory."""


class StoreCorrupt(StoreError):
    """A stored value is not of the form this application writes."""


class RoomError(Exception):
    """A request that a room refuses; nothing was changed. The client learns `code` and text."""

    code = "refused"


class UnknownRoom(RoomError):
    code = "unknown_room"


class UnknownAction(RoomError):
    code = "unknown_action"


class Unauthorized(RoomError):
    code = "unauthorized"


class NotJoined(RoomError):
    code = "not_joined"


class Invalid(RoomError):
    """Arguments, keys or values that the room does not take."""

    code = "invalid"


class Busy(RoomError):
    """The client has too much under way."""

    code = "busy"


class RateLimited(RoomError):
    """The visitor reached a limit. If `wait` is known, it may go on after so many seconds."""

    code = "rate_limited"

    def __init__(self, text: str, wait: float = 0) -> None:
        super().__init__(f"{text} in {ceil(wait)} s" if wait else text)
        self.wait = wait


class Conflicted(RoomError):
    """Every attempt conflicted with another commit."""

    code = "conflict"


class DefinitionError(TypeError):
    """A room class that cannot work as written."""
