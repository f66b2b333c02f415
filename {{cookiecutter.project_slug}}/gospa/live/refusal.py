"""Tells a client why its request failed, in the codes of the protocol."""

from sanic.log import logger

from gospa.errors import StoreFull, StoreUnavailable
from gospa.live import wire
from gospa.room import RoomError
from gospa.store.codec import CodecError


def refusal(error: Exception, room: str, mutation: int | None = None) -> bytes:
    """The ERROR for what a request raised. What only we can mend is logged, not shown."""
    match error:
        case RoomError():
            code, text = error.code, str(error)
        case CodecError():
            code, text = "invalid", str(error)
        case StoreUnavailable():
            logger.debug("a request to room %s is put off: %s", room, error)
            code, text = "unavailable", "this cannot be stored just now; send it again"
        case StoreFull():
            code, text = "store_full", "the store is full"
        case _:
            logger.error("a request to room %s failed", room, exc_info=error)
            code, text = "internal", "the request failed; the server's log says why"
    return wire.error(code, text, mutation=mutation, room=room)
