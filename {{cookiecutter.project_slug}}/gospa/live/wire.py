"""The messages of the protocol `gospa.v1`: msgpack arrays in binary frames (docs/protocol.md)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from gospa.member import Member
from gospa.settings import Settings
from gospa.store.codec import CodecError, check_bounds, encode, pack, pack_map, unpack
from gospa.store.content import HIDDEN, published
from gospa.store.contract import MAX_MUTATION

SUBPROTOCOL = "gospa.v1"
# Also offered by a client that begins a missing session over HTTP.
WITH_SESSION = "gospa.session"
VERSION = 1

# The first element of a message says its type.
JOIN, LEAVE, CALL, WRITE, SEND, PING, HELLO, RUN = range(8)  # from the client
SNAPSHOT, PATCH, EVENT, ACK, ERROR, WELCOME, BYE, PONG, JOINED, DONE = range(10)  # from the server


KICK, REAUTHORIZE, CROWD = 32, 33, 34  # between workers


class Close(NamedTuple):
    """Why a connection ends. From code 4500 on, connecting again would fail in the same way."""

    code: int
    reason: str
    trouble: str = ""  # one of `stats.REASONS`, unless this is normal operation


TEXT_FRAME = Close(1003, "messages are binary", "malformed")
RESTART = Close(1012, "the server restarts")
SILENT = Close(4000, "no answer to a ping")
NEW_TOKEN = Close(4001, "the session has a new token")
TOO_FAST = Close(4002, "too many frames or bytes", "too_fast")
NO_SESSION = Close(4003, "there is no session: begin one with POST")
TOO_SLOW = Close(4004, "too little was read")
BEHIND = Close(4005, "this host does not speak that protocol yet")
ANOTHER = Close(4006, "another release may know this request: connect again")
MALFORMED = Close(4500, "malformed message", "malformed")
NO_HELLO = Close(4501, "HELLO must be sent first, once, and before the timeout", "no_hello")
SESSION_ENDED = Close(4502, "the session ended")
LOG_IN = Close(4503, "log in first", "not_logged_in")
OUTDATED = Close(4504, "the page is of an old release: reload it")

DEFAULTS = Settings()

Number = Annotated[int, msgspec.Meta(ge=1, le=MAX_MUTATION)]
MAX_ROOM = 512  # characters
RoomName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ROOM)]


class WireError(ValueError):
    """A frame that is not a message of the protocol."""


class UnknownMessage(WireError):
    """A message of a type that only a later release has."""


class _Message(msgspec.Struct, array_like=True):
    """A message from the client. Elements that only a later release has are ignored."""


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
    release: str | None = None


class Run(_Message, tag=RUN):
    id: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    room: RoomName
    command: Annotated[str, msgspec.Meta(max_length=128)]
    args: dict[str, Any]


Request = Run | Join | Leave | Call | Write | Send | Ping | Hello


class _Frame(msgspec.Struct, array_like=True):
    """One request. msgspec caches what it knows of a struct, but not of a union: 0.5 us, not 9."""

    request: Request


def parse(frame: bytes, limits: Settings = DEFAULTS) -> Request:
    """The message in a client's frame. Raises WireError."""
    try:
        message = unpack(frame, limits.frame_elements)
        check_bounds(message, elements=limits.frame_elements, depth=limits.frame_depth)
        if isinstance(message, list) and message and _is_later(message[0]):
            raise UnknownMessage(f"there is no message of type {message[0]} here")
        return msgspec.convert([message], _Frame, builtin_types=(bytes, datetime)).request
    except (CodecError, msgspec.ValidationError) as error:
        raise WireError(str(error)) from error


def _is_later(kind: object) -> bool:
    """Whether it is a type of message that this release does not know."""
    return type(kind) is int and not JOIN <= kind <= RUN


def snapshot(room: str, version: int, tag: bytes, fields: Mapping[str, bytes]) -> bytes:
    """The whole state of a room."""
    return b"\x95" + b"".join(map(encode, (SNAPSHOT, room, version, tag))) + pack_map(fields)


def patch_parts(
    room: str, tag: bytes, changed: Mapping[str, bytes], deleted: Sequence[str]
) -> tuple[bytes, bytes]:
    """A PATCH in two parts; the store puts version and parent between them (`splice`)."""
    deleted = [key for key in deleted if not key.startswith(HIDDEN)]
    after = encode(tag) + pack_map(published(changed)) + encode(deleted)
    return b"\x97" + encode(PATCH) + encode(room), after


def event(room: str, name: str, payload: Any, sender: Member | None) -> bytes:
    """An ephemeral event, from a member or the application; `payload` was checked before."""
    who = sender and {"id": sender.id, "user": sender.user, "info": dict(sender.info)}
    return encode([EVENT, room, name, payload, who])


def ack(mutation: int, version: int, result: Any) -> bytes:
    """A mutation was applied in the commit `version`; `result` was checked before."""
    return encode([ACK, mutation, version, result])


def done(id: bytes, result: Any) -> bytes:
    """A command has ended; `result` was checked before."""
    return encode([DONE, id, result])


def error(
    code: str, text: str, *, mutation: int | bytes | None = None, room: str | None = None
) -> bytes:
    """A request failed: a mutation by its number, a command by its id, or another."""
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


def joined(
    room: str, version: int, tag: bytes, defaults: Mapping[str, bytes], rest: tuple[Any, ...]
) -> bytes:
    """The member is up to date.

    `defaults` are the values of fields that the state does not have; `rest` are the names of its
    collections, and the member's access.
    """
    head = b"".join(map(encode, (JOINED, room, version, tag)))
    return b"\x97" + head + pack_map(defaults) + b"".join(map(encode, rest))


class _Published(msgspec.Struct, array_like=True, tag=PATCH, forbid_unknown_fields=True):
    """A PATCH as it was published."""

    room: str
    version: int
    parent: bytes
    commit: bytes
    set: dict[str, msgspec.Raw]
    delete: list[str]


_PUBLISHED = msgspec.msgpack.Decoder(_Published)


class Patch(msgspec.Struct, frozen=True):
    """A published commit, its values still encoded."""

    version: int
    parent: bytes
    tag: bytes
    set: Mapping[str, bytes]
    delete: Sequence[str]


class Notice(msgspec.Struct, array_like=True, frozen=True):
    """Tells workers, not clients, to do something with members: of a user, or with an id."""

    kind: int  # KICK or REAUTHORIZE
    user: str | None
    member: str | None


class Crowd(msgspec.Struct, array_like=True, frozen=True):
    """Tells workers how many members a room has on another one."""

    kind: int
    worker: str
    members: int


_NOTICE, _CROWD = msgspec.msgpack.Decoder(Notice), msgspec.msgpack.Decoder(Crowd)


def notice(kind: int, user: str | None, member: str | None) -> bytes:
    """A message to workers: see `Notice`."""
    return pack([kind, user, member])


def crowd(worker: str, members: int) -> bytes:
    """A message to workers: see `Crowd`."""
    return pack([CROWD, worker, members])


def read_notice(message: bytes) -> Notice | Crowd | None:
    """A published notice, or None for anything else, also of another release's form."""
    try:
        if message[:2] in (b"\x93\x20", b"\x93\x21"):
            return _NOTICE.decode(message)
        return _CROWD.decode(message) if message[:2] == b"\x93\x22" else None
    except (msgspec.MsgspecError, ValueError):
        return None


def is_event(message: bytes) -> bool:
    """Whether a published message is an EVENT."""
    return message[:2] == b"\x95\x02"


def read_patch(message: bytes) -> Patch:
    """A published PATCH. Raises WireError for anything else."""
    try:
        read = _PUBLISHED.decode(message)
        # Copied, because a Raw keeps the whole message in memory.
        changed = {key: bytes(raw) for key, raw in read.set.items()}
        for raw in changed.values():
            unpack(raw)  # or clients would break off, and get it again
    except (msgspec.MsgspecError, ValueError) as problem:  # also what is not UTF-8
        raise WireError(f"not a PATCH: {problem}") from problem
    return Patch(read.version, read.parent, read.commit, changed, read.delete)
