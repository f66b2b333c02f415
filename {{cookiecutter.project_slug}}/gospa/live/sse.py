"""WebSocket frames as an event stream (SSE), and a client's messages as such frames.

One event is one message, in base64. A message of several frames has a line of data for each.
"""

import re
from base64 import b64decode, b64encode
from functools import lru_cache
from typing import NamedTuple

from gospa.live.wire import WireError

TYPE = "text/event-stream"
MOST = 1000  # messages in a batch
SHARED = 16  # writes of which the lines are kept for the next members of a room
FIN, BINARY, CLOSE, PING = 0x80, 0x2, 0x8, 0x9
MASKED = 0x80
KEY = bytes(4)  # which leaves a payload as it is
WORKER, SECRET = 16, 32  # hexadecimal digits of a stream's id
_ID = f"([0-9a-f]{{{WORKER}}})([0-9a-f]{{{SECRET}}})"
_HEAD = re.compile(f"{_ID} ([1-9][0-9]{{0,14}})".encode())


class Batch(NamedTuple):
    """What a POST holds: messages for one stream. The batches of a stream are numbered from 1."""

    worker: str
    secret: str
    number: int
    lines: bytes

    def messages(self) -> list[bytes]:
        """Decode the messages. Raises WireError.

        Their number is checked first: to split and decode many empty lines takes long.
        """
        if self.lines.count(b"\n") > MOST:
            raise WireError(f"a batch has at most {MOST} messages")
        try:
            return [b64decode(line, validate=True) for line in self.lines.split(b"\n")[1:]]
        except ValueError as error:
            raise WireError(f"a message is not base64: {error}") from error


def read_batch(body: bytes) -> Batch:
    """What a POST holds, with the messages not decoded yet. Raises WireError."""
    head, newline, lines = body.partition(b"\n")
    found = _HEAD.fullmatch(head)
    if found is None:
        raise WireError("a batch begins with the stream's id and a number")
    worker, secret, number = found.groups()
    return Batch(worker.decode(), secret.decode(), int(number), newline + lines)


def opened(stream: str) -> bytes:
    """The first event, with the stream's id."""
    return b"event: open\ndata: %b\n\n" % stream.encode()


def taken(number: int) -> bytes:
    """Acknowledges a batch. The line may stand anywhere between others."""
    return b"id: %d\n" % number


@lru_cache(maxsize=SHARED)
def events(frames: bytes) -> bytes:
    """The lines for whole frames from the server."""
    lines, at = [], 0
    while at < len(frames):
        first, size, at = frames[at], frames[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(frames[at : at + width]), at + width
        lines.append(_event(first, frames[at : at + size]))
        at += size
    return b"".join(lines)


def is_close(frames: bytes | bytearray | memoryview) -> bool:
    """Whether these are the frame that ends a connection."""
    return frames[0] == FIN | CLOSE


def _event(first: int, payload: bytes) -> bytes:
    kind = first & 0x0F
    if kind == CLOSE:
        code, reason = int.from_bytes(payload[:2]), b" ".join(payload[2:].splitlines())
        return b"event: close\ndata: %d %b\n\n" % (code, reason)
    if kind == PING:
        return b"event: ping\ndata:\n\n"
    return b"data: %b\n" % b64encode(payload) + (b"\n" if first & FIN else b"")


def frame(message: bytes) -> bytes:
    """A message as the frame of a client."""
    size, head = len(message), FIN | BINARY
    if size < 126:
        return bytes((head, MASKED | size)) + KEY + message
    if size < 2**16:
        return bytes((head, MASKED | 126)) + size.to_bytes(2) + KEY + message
    return bytes((head, MASKED | 127)) + size.to_bytes(8) + KEY + message
