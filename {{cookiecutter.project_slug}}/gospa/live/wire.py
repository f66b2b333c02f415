"""The messages of the protocol `gospa.v1`: msgpack arrays in binary frames (docs/protocol.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec

from gospa.settings import Settings
from gospa.store.codec import CodecError, check, check_size, encode, pack, pack_map, unpack
from gospa.store.contract import MAX_MUTATION, Snapshot

SUBPROTOCOL = "gospa.v1"
VERSION = 1

# Close codes: those from 4500 on tell the client not to come back, as it would fail again.
CLOSE_RESTART = 1012
CLOSE_SILENT = 4000
CLOSE_SESSION_CHANGED = 4001
CLOSE_TOO_FAST = 4002
CLOSE_MALFORMED = 4500
CLOSE_NO_HELLO = 4501
CLOSE_SESSION_ENDED = 4502

DEFAULTS = Settings()

Number = Annotated[int, msgspec.Meta(ge=1, le=MAX_MUTATION)]
RoomName = Annotated[str, msgspec.Meta(min_length=1)]


class WireError(ValueError):
    """A frame that is not a message of the protocol."""


class _Message(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A message of the client."""


class Join(_Message, tag=0):
    room: RoomName
    version: Annotated[int, msgspec.Meta(ge=0)] | None
    tag: bytes | None
    details: Any = None


class Leave(_Message, tag=1):
    room: RoomName


class Call(_Message, tag=2):
    mutation: Number
    room: RoomName
    action: Annotated[str, msgspec.Meta(max_length=128)]
    args: dict[str, Any]


class Write(_Message, tag=3):
    mutation: Number
    room: RoomName
    set: dict[str, Any]
    delete: list[str]


class Send(_Message, tag=4):
    room: RoomName
    event: Annotated[str, msgspec.Meta(max_length=128)]
    payload: Any


class Ping(_Message, tag=5):
    pass


class Hello(_Message, tag=6):
    client: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


Request = Join | Leave | Call | Write | Send | Ping | Hello


class _Frame(msgspec.Struct, array_like=True):
    """One request. msgspec keeps what it learns of a struct, but not of a union: 0.5 us, not 9."""

    request: Request


def parse(frame: bytes, limits: Settings = DEFAULTS) -> Request:
    """The message in a client's frame. Raises WireError."""
    try:
        message = unpack(frame, limits.frame_elements)
        check_size(message, elements=limits.frame_elements, depth=limits.frame_depth)
        check(message, "the message")
        request = msgspec.convert([message], _Frame, builtin_types=(bytes, datetime)).request
    except (CodecError, msgspec.ValidationError) as error:
        raise WireError(str(error)) from error
    if len(getattr(request, "room", "")) > limits.room_name:
        raise WireError(f"a room's name has at most {limits.room_name} characters")
    return request


class _Published(msgspec.Struct, array_like=True, tag=1, forbid_unknown_fields=True):
    """A PATCH as it is in the message."""

    room: str
    version: int
    parent: bytes
    commit: bytes
    set: dict[str, msgspec.Raw]
    delete: list[str]


_published = msgspec.msgpack.Decoder(_Published)


@dataclass(frozen=True, slots=True)
class Patch:
    """A published commit, its values still encoded."""

    version: int
    parent: bytes
    tag: bytes
    set: Mapping[str, bytes]
    delete: Sequence[str]


def snapshot(room: str, state: Snapshot) -> bytes:
    head = b"\x95" + b"".join(map(encode, (0, room, state.version, state.tag)))
    return head + pack_map(state.fields)


def patch_frame(
    room: str, tag: bytes, changed: Mapping[str, bytes], deleted: Sequence[str]
) -> tuple[bytes, bytes]:
    """A PATCH in two parts; the store puts version and parent between them (`store.splice`)."""
    return b"\x97\x01" + encode(room), encode(tag) + pack_map(changed) + encode(list(deleted))


def event(room: str, name: str, payload: Any, sender: str) -> bytes:
    return pack([2, room, name, payload, sender])


def ack(mutation: int, version: int, result: Any) -> bytes:
    """`result` was checked before."""
    return encode([3, mutation, version, result])


def error(code: str, text: str, *, mutation: int | None = None, room: str | None = None) -> bytes:
    return pack([4, mutation, code, text, room])


def welcome(member: str, server: Mapping[str, Any]) -> bytes:
    return pack([5, VERSION, member, dict(server)])


def bye(code: int, retry_after_ms: int) -> bytes:
    return pack([6, code, retry_after_ms])


def pong() -> bytes:
    return encode([7])


def joined(room: str, version: int, tag: bytes) -> bytes:
    return pack([8, room, version, tag])


def is_event(message: bytes) -> bool:
    """Whether a published message is an EVENT."""
    return message[:2] == b"\x95\x02"


def is_ack(message: bytes) -> bool:
    """Whether an answer to a mutation is an ACK."""
    return message[:2] == b"\x94\x03"


def read_patch(message: bytes) -> Patch:
    """A published PATCH. Raises WireError for anything else."""
    try:
        read = _published.decode(message)
    except msgspec.MsgspecError as problem:
        raise WireError(f"not a PATCH: {problem}") from problem
    # Bytes of their own: what is raw would keep the whole message in memory.
    changed = {key: bytes(raw) for key, raw in read.set.items()}
    return Patch(read.version, read.parent, read.commit, changed, read.delete)
