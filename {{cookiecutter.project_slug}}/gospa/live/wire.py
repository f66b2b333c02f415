"""The messages of the protocol `gospa.v1`: msgpack arrays in binary frames (docs/protocol.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from gospa.settings import Settings
from gospa.store.codec import CodecError, check_bounds, encode, pack, pack_map, unpack
from gospa.store.contract import MAX_MUTATION, Snapshot

SUBPROTOCOL = "gospa.v1"
VERSION = 1

# The first element of a message says its type.
JOIN, LEAVE, CALL, WRITE, SEND, PING, HELLO = range(7)  # from the client
SNAPSHOT, PATCH, EVENT, ACK, ERROR, WELCOME, BYE, PONG, JOINED = range(9)  # from the server


KICK = 32  # between workers


class Close(NamedTuple):
    """Why a connection ends. From code 4500 on, to connect again would fail the same way."""

    code: int
    reason: str


TEXT_FRAME = Close(1003, "messages are binary")
RESTART = Close(1012, "the server restarts")
SILENT = Close(4000, "no answer to a ping")
NEW_TOKEN = Close(4001, "the session has a new token")
ACCESS_LOST = Close(4001, "the session may no longer be in a room")
TOO_FAST = Close(4002, "too many frames or bytes")
MALFORMED = Close(4500, "malformed message")
NO_HELLO = Close(4501, "HELLO must be sent first, once, and before the timeout")
SESSION_ENDED = Close(4502, "the session ended")

DEFAULTS = Settings()

Number = Annotated[int, msgspec.Meta(ge=1, le=MAX_MUTATION)]
RoomName = Annotated[str, msgspec.Meta(min_length=1)]


class WireError(ValueError):
    """A frame that is not a message of the protocol."""


class _Message(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A message from the client."""


class Join(_Message, tag=JOIN):
    room: RoomName
    version: Annotated[int, msgspec.Meta(ge=0)] | None
    tag: bytes | None
    details: Any = None


class Leave(_Message, tag=LEAVE):
    room: RoomName


class Call(_Message, tag=CALL):
    mutation: Number
    room: RoomName
    action: Annotated[str, msgspec.Meta(max_length=128)]
    args: dict[str, Any]


class Write(_Message, tag=WRITE):
    mutation: Number
    room: RoomName
    set: dict[str, Any]
    delete: list[str]


class Send(_Message, tag=SEND):
    room: RoomName
    event: Annotated[str, msgspec.Meta(max_length=128)]
    payload: Any


class Ping(_Message, tag=PING):
    pass


class Hello(_Message, tag=HELLO):
    client: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


Request = Join | Leave | Call | Write | Send | Ping | Hello


class _Frame(msgspec.Struct, array_like=True):
    """One request. msgspec caches what it knows of a struct, but not of a union: 0.5 us, not 9."""

    request: Request


def parse(frame: bytes, limits: Settings = DEFAULTS) -> Request:
    """The message in a client's frame. Raises WireError."""
    try:
        message = unpack(frame, limits.frame_elements)
        check_bounds(message, elements=limits.frame_elements, depth=limits.frame_depth)
        request = msgspec.convert([message], _Frame, builtin_types=(bytes, datetime)).request
    except (CodecError, msgspec.ValidationError) as error:
        raise WireError(str(error)) from error
    if len(getattr(request, "room", "")) > limits.room_name:
        raise WireError(f"a room's name has at most {limits.room_name} characters")
    return request


def snapshot(room: str, state: Snapshot) -> bytes:
    """The whole state of a room."""
    head = b"".join(map(encode, (SNAPSHOT, room, state.version, state.tag)))
    return b"\x95" + head + pack_map(state.fields)


def patch_parts(
    room: str, tag: bytes, changed: Mapping[str, bytes], deleted: Sequence[str]
) -> tuple[bytes, bytes]:
    """A PATCH in two parts; the store puts version and parent between them (`splice`)."""
    return b"\x97" + encode(PATCH) + encode(room), encode(tag) + pack_map(changed) + encode(deleted)


def event(room: str, name: str, payload: Any, sender: str) -> bytes:
    """An ephemeral event, from the member `sender`."""
    return pack([EVENT, room, name, payload, sender])


def ack(mutation: int, version: int, result: Any) -> bytes:
    """A mutation was applied in the commit `version`; `result` was checked before."""
    return encode([ACK, mutation, version, result])


def error(code: str, text: str, *, mutation: int | None = None, room: str | None = None) -> bytes:
    """A request failed."""
    return pack([ERROR, mutation, code, text, room])


def welcome(member: str, server: Mapping[str, Any], session: Mapping[str, Any]) -> bytes:
    """The answer to HELLO."""
    return pack([WELCOME, VERSION, member, dict(server), dict(session)])


def bye(close: Close, retry_after_ms: int) -> bytes:
    """The server is about to close the connection."""
    return pack([BYE, close.code, retry_after_ms])


def pong() -> bytes:
    """The answer to PING."""
    return encode([PONG])


def joined(room: str, version: int, tag: bytes, defaults: Mapping[str, bytes]) -> bytes:
    """The member is up to date; `defaults` are the values of keys that the state does not have."""
    return b"\x95" + b"".join(map(encode, (JOINED, room, version, tag))) + pack_map(defaults)


class _Published(msgspec.Struct, array_like=True, tag=PATCH, forbid_unknown_fields=True):
    """A PATCH as it was published."""

    room: str
    version: int
    parent: bytes
    commit: bytes
    set: dict[str, msgspec.Raw]
    delete: list[str]


_PUBLISHED = msgspec.msgpack.Decoder(_Published)


@dataclass(frozen=True, slots=True)
class Patch:
    """A published commit, its values still encoded."""

    version: int
    parent: bytes
    tag: bytes
    set: Mapping[str, bytes]
    delete: Sequence[str]


class Kick(msgspec.Struct, array_like=True, tag=KICK, frozen=True):
    """Tells workers, not clients, to remove members from a room: of a user, or with an id."""

    user: str | None
    member: str | None


_KICK = msgspec.msgpack.Decoder(Kick)


def kick(user: str | None, member: str | None) -> bytes:
    """Remove these members from a room: see `Kick`."""
    return pack([KICK, user, member])


def read_kick(message: bytes) -> Kick | None:
    """A published KICK, or None for anything else, also of another release's form."""
    try:
        return _KICK.decode(message) if message[:2] == b"\x93\x20" else None
    except msgspec.MsgspecError:
        return None


def is_event(message: bytes) -> bool:
    """Whether a published message is an EVENT."""
    return message[:2] == b"\x95\x02"


def read_patch(message: bytes) -> Patch:
    """A published PATCH. Raises WireError for anything else."""
    try:
        read = _PUBLISHED.decode(message)
    except msgspec.MsgspecError as problem:
        raise WireError(f"not a PATCH: {problem}") from problem
    # Copied, because a Raw keeps the whole message in memory.
    changed = {key: bytes(raw) for key, raw in read.set.items()}
    return Patch(read.version, read.parent, read.commit, changed, read.delete)
