"""Clients that receive over sockets, event streams or polls, and check what they are sent."""

import re
import socket
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass

from bench import frames
from bench.load import Speech
from bench.processes import HOST, BenchError

PATIENCE = 30.0  # seconds
NUMBERED = re.compile(rb"#seq:([0-9a-f]{16})")
POST = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b"
GET = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ANSWER = re.compile(rb"Content-Length: (\d+)\r\n(?:.+\r\n)*\r\n", re.IGNORECASE)
POLLING = b"/socket.io/?EIO=4&transport=polling"
SEPARATOR = b"\x1e"  # of messages in the answer to a poll

Split = Callable[[bytes], tuple[list[bytes], bytes]]
"""Returns complete messages, and what follows."""


class Wire:
    """A connection, and what arrived over it and was not used."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = socket.create_connection((HOST, port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send, self.rest = self.socket.sendall, b""

    def receive(self) -> int:
        """Add what has arrived; returns its size."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise BenchError(f"the server closed a connection: {self.rest[-200:]!r}")
        self.rest += data
        return len(data)

    def until(self, end: bytes) -> re.Match[bytes]:
        """Receive and use all to the end of a pattern."""
        while not (found := re.search(end, self.rest)):
            self.receive()
        self.rest = self.rest[found.end() :]
        return found


@dataclass(frozen=True, slots=True)
class Transport:
    """How a member comes, and how messages are found in what it receives."""

    join: Callable[[Wire, Speech], bytes]
    """Returns what a client sends each time when it received something, or nothing."""
    split: Split


class Member:
    """One client that has joined; counts messages, and bytes in both directions."""

    def __init__(self, port: int, transport: Transport, speech: Speech) -> None:
        self.wire = Wire(port)
        self.last = self.bytes = 0
        self._split = transport.split
        self._again = transport.join(self.wire, speech)
        deadline = time.monotonic() + PATIENCE
        messages = self._take()  # they may have come with the answer's head
        while not any(speech.ready in message for message in messages):
            messages = self.read()
            if time.monotonic() > deadline:
                raise BenchError("a member has not joined in time")

    def read(self) -> list[bytes]:
        """What has arrived of messages. Raises BenchError if one is missing or came twice."""
        self.bytes += self.wire.receive()
        return self._take()

    def _take(self) -> list[bytes]:
        messages, self.wire.rest = self._split(self.wire.rest)
        if messages and self._again:
            self.wire.send(self._again)
            self.bytes += len(self._again)
        for message in messages:
            for number in NUMBERED.findall(message):
                if self.last and int(number, 16) != self.last + 1:
                    raise BenchError(f"message {int(number, 16)} came after {self.last}")
                self.last = int(number, 16)
        return messages


def split_frames(data: bytes, mask: int = 0) -> tuple[list[bytes], bytes]:
    """WebSocket frames of less than 64 KiB; a mask of so many bytes changes nothing."""
    found, at = [], 0
    while len(data) >= at + 4:
        size, start = data[at + 1] & 0x7F, at + 2
        if size > frames.SEVEN_BITS:
            size, start = int.from_bytes(data[start : start + 2]), start + 2
        start += mask
        if len(data) < start + size:
            break
        found.append(data[start : start + size])
        at = start + size
    return found, data[at:]


def split_texts(data: bytes) -> tuple[list[bytes], bytes]:
    """Events of a stream, whose data is text."""
    *events, rest = data.split(b"\n\n")
    lines = [line for event in events for line in event.split(b"\n")]
    return [line[6:] for line in lines if line.startswith(b"data: ")], rest


def split_events(data: bytes) -> tuple[list[bytes], bytes]:
    """Events of a stream, whose data is bytes."""
    texts, rest = split_texts(data)
    return [b64decode(text) for text in texts], rest


def split_answers(data: bytes) -> tuple[list[bytes], bytes]:
    """Answers to polls, each of which has one or more messages."""
    found: list[bytes] = []
    while head := ANSWER.search(data):
        end = head.end() + int(head[1])
        if len(data) < end:
            break
        found += data[head.end() : end].split(SEPARATOR)
        data = data[end:]
    return found, data


def _open_socket(wire: Wire, speech: Speech) -> bytes:
    wire.send(speech.request)
    wire.until(rb"\r\n\r\n")
    wire.send(speech.opening)
    return b""


def _open_stream(wire: Wire, speech: Speech) -> bytes:
    wire.send(POST % (b"/ws/stream", 0, b""))
    stream = wire.until(rb"event: open\ndata: (\w+)\n\n")[1]
    messages, _ = split_frames(speech.opening, mask=4)
    batch = b"\n".join([stream + b" 1", *map(b64encode, messages)])
    other = Wire(wire.port)
    with other.socket:
        other.send(POST % (b"/ws/send", len(batch), batch))
        if b" 204 " not in other.until(rb"\r\n\r\n").string:
            raise BenchError("a batch was refused")
    return b""


def _open_its_stream(wire: Wire, speech: Speech) -> bytes:
    (commands,), _ = split_frames(speech.opening, mask=4)
    wire.send(POST % (b"/connection/sse", len(commands), commands))
    wire.until(rb"\r\n\r\n")
    return b""


def _poll(wire: Wire, _: Speech) -> bytes:
    wire.send(GET % POLLING)
    session = POLLING + b"&sid=" + wire.until(rb'\r\n\r\n0{"sid":"([^"]+)".*}')[1]
    wire.send(POST % (session, 2, b"40"))
    wire.until(rb"\r\n\r\nok")
    poll = GET % session
    wire.send(poll)
    return poll


SOCKET = Transport(_open_socket, split_frames)
STREAM = Transport(_open_stream, split_events)
CENTRIFUGO_SSE = Transport(_open_its_stream, split_texts)
POLLS = Transport(_poll, split_answers)
