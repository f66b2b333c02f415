"""Errors, by what a caller may do about them.

StoreError
├── StoreUnavailable   nobody answered, or not in time: try again later
├── StoreFull          the store is out of memory: nothing was written
└── StoreCorrupt       what is stored is not what this application wrote
RoomError              a room refuses a request: nothing was changed
DefinitionError        a class of rooms cannot work as written
"""


class StoreError(Exception):
    """A store could not do what it was asked to."""


class StoreUnavailable(StoreError):
    """The store gave no answer. A write may or may not have happened."""


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


class Conflicted(RoomError):
    """Every attempt conflicted with another commit."""

    code = "conflict"


class DefinitionError(TypeError):
    """A room class that cannot work as written."""
