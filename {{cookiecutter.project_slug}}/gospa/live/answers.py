"""The ids of clients and their sessions, and the ERRORs for failed requests."""

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from sanic.log import logger

from gospa.errors import (
    Invalid,
    RoomError,
    StoreFull,
    StoreUnavailable,
    UnknownAction,
    UnknownRoom,
)
from gospa.live import wire
from gospa.member import Member
from gospa.sessions.session import Session
from gospa.store.codec import pack

MAX_TEXT = 1000  # characters of a reason
UNKNOWN = (UnknownRoom, UnknownAction, Invalid)  # here, but maybe not to another release


class Elsewhere(StoreUnavailable):
    """Another release may know the request: it is neither applied nor refused here."""


def member_id(client: bytes) -> str:
    """The id under which others see a client; it stays the same when the client reconnects.

    A digest, because the client's own id would let others send mutations in its name.
    """
    return hashlib.sha256(client).hexdigest()[:16]


def public_id(session: Session) -> str:
    """The id of a session and its user, for its own clients: they repeat requests under it alone.

    A digest, because the key of a session's own room has the identity itself.
    """
    return hashlib.sha256(b"session" + pack([session.identity, session.user])).hexdigest()[:16]


def source_of(client: bytes | None, session: Session) -> str:
    """The name of the store's record of a client's mutations, which belongs to its session."""
    assert client is not None  # noqa: S101 - HELLO came first
    digest = hashlib.blake2b(client + session.identity.encode(), digest_size=16)
    return f"client:{digest.hexdigest()}"


def welcome(member: Member, server: Mapping[str, Any], session: Session) -> bytes:
    """The answer to HELLO."""
    server = {**server, "time": time.time_ns() // 1_000_000}
    return wire.welcome(member.id, server, {"id": public_id(session), "user": session.user})


def error_message(
    error: Exception, room: str, mutation: int | bytes | None = None, what: str = "a request"
) -> bytes:
    """The ERROR for a request that failed. An error of the application is logged, not sent."""
    match error:
        case RoomError():
            code, text = error.code, str(error)
        case StoreUnavailable():
            logger.debug("%s to room %s has to be repeated: %s", what, room, error)
            code, text = "unavailable", "the store is unavailable; send it again"
        case StoreFull():
            code, text = "store_full", "the store is full"
        case _:
            logger.error("%s to room %s failed", what, room, exc_info=error)
            code, text = "internal", "the request failed; the server's log says why"
    # An action's reason may not be Unicode, and may have an argument in it.
    text = text.encode(errors="replace").decode()[:MAX_TEXT]
    return wire.error(code, text, mutation=mutation, room=room)
