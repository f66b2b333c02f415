"""Errors, grouped by what the caller can do.

StoreError
├── StoreUnavailable   no answer, or not in time: try again later
│   ├── StoreUnreachable   this host cannot connect to the store
│   ├── StoreReadOnly      the server is a replica
│   └── SchemaMismatch     the room is stored in the version of another release
├── StoreFull          the store is out of memory: nothing was written
├── StoreDenied        the store's user lacks a permission that the application needs
└── StoreCorrupt       stored data was not written by this application
RoomError              a room refuses a request: nothing was changed
DefinitionError        a room class is defined wrongly
"""

from math import ceil


class StoreError(Exception):
    """A store failed or refused a request."""


class StoreUnavailable(StoreError):
    """The store gave no answer. A write may or may not have happened."""


class StoreUnreachable(StoreUnavailable):
    """The store's host cannot be reached from here; others may reach it."""


class StoreReadOnly(StoreUnavailable):
    """The store accepts no writes, because it is a replica."""


class StoreDenied(StoreError):
    """The store's user lacks the permission for a command. Nothing was written."""


class SchemaMismatch(StoreUnavailable):
    """A room is stored in the version of another release. Nothing was written."""


class StoreFull(StoreError):
    """The store refused a write because it is out of memory."""


class StoreCorrupt(StoreError):
    """A stored value does not have the form that this application writes."""


class RoomError(Exception):
    """A request that a room refuses; nothing was changed. The client gets `code` and text.

    `status` is that of an HTTP response.
    """

    code = "refused"
    status = 409


class UnknownRoom(RoomError):
    code = "unknown_room"
    status = 404


class UnknownAction(RoomError):
    code = "unknown_action"
    status = 404


class Unauthorized(RoomError):
    code = "unauthorized"
    status = 403


class NotJoined(RoomError):
    code = "not_joined"


class Invalid(RoomError):
    """Arguments, keys or values that are not valid in the room."""

    code = "invalid"
    status = 400


class Busy(RoomError):
    """The client has too many requests in progress."""

    code = "busy"
    status = 429


class RateLimited(RoomError):
    """The visitor reached a limit, for `wait` seconds if that is known."""

    code = "rate_limited"
    status = 429

    def __init__(self, text: str, wait: float = 0) -> None:
        super().__init__(f"{text} in {ceil(wait)} s" if wait else text)
        self.wait = wait


class Conflicted(RoomError):
    """Every attempt conflicted with another commit."""

    code = "conflict"


class DefinitionError(TypeError):
    """A room class is defined wrongly."""
