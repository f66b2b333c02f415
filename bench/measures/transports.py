"""What a change costs the server for each member, over sockets and over event streams."""

import itertools
import os
import re
import selectors
import socket
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgpack

from bench import frames
from bench.figures import Sample
from bench.peers import OURS, ours
from bench.processes import HOST, BenchError, Child
from bench.setting import Setting

MEMBERS = {"10 members": 10, "200 members": 200}
PATCH = b"\x97\x01"  # how one begins
JOINED = b"\x97\x08"
PATIENCE = 30.0  # seconds
OPENING = "POST /ws/stream HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n"
SENDING = "POST /ws/send HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Transport:
    """How to connect and send, and how to find the messages in what is received."""

    connect: Callable[[int, socket.socket], Callable[[list[bytes]], None]]
    """Given the port and a connection to it; returns what sends messages."""
    split: Callable[[bytes], tuple[list[bytes], bytes]]
    """Complete messages, and what follows."""


class Member:
    """One connection in a room; counts what it is sent."""

    def __init__(self, port: int, transport: Transport) -> None:
        self.socket = _connected(port)
        self.patches = self.bytes = 0
        self.send = transport.connect(port, self.socket)
        self._split, self._rest = transport.split, b""

    def read(self) -> list[bytes]:
        """What has arrived of messages."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise BenchError("the server closed a connection")
        self.bytes += len(data)
        messages, self._rest = self._split(self._rest + data)
        self.patches += sum(message.startswith(PATCH) for message in messages)
        return messages

    def join(self, room: str) -> None:
        """Say who it is, and join a room."""
        self.send([_packed(6, os.urandom(16)), _packed(0, room, None, None)])
        deadline = time.monotonic() + PATIENCE
        while not any(message.startswith(JOINED) for message in self.read()):
            if time.monotonic() > deadline:
                raise BenchError("a room was not joined in time")


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection((HOST, port), PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _read_head(connection: socket.socket, end: bytes) -> bytes:
    head = b""
    while not (found := re.search(end, head)):
        head += connection.recv(1)  # no more: what follows are messages
    return found[found.lastindex or 0]


def _open_socket(_: int, connection: socket.socket) -> Callable[[list[bytes]], None]:
    connection.sendall(frames.handshake("/ws", "gospa.v1"))
    _read_head(connection, rb"\r\n\r\n")
    return lambda messages: connection.sendall(b"".join(map(frames.frame, messages)))


def _split_frames(data: bytes) -> tuple[list[bytes], bytes]:
    found, at = [], 0
    while len(data) >= at + 4:
        size, start = data[at + 1], at + 2
        if size > frames.SEVEN_BITS:
            size, start = int.from_bytes(data[start : start + 2]), start + 2
        if len(data) < start + size:
            break
        found.append(data[start : start + size])
        at = start + size
    return found, data[at:]


def _open_stream(port: int, connection: socket.socket) -> Callable[[list[bytes]], None]:
    connection.sendall(OPENING.format(HOST).encode())
    stream, numbers = _read_head(connection, rb"event: open\ndata: (\w+)\n\n"), itertools.count(1)

    def send(messages: list[bytes]) -> None:
        body = b"\n".join([b"%b %d" % (stream, next(numbers)), *map(b64encode, messages)])
        with _connected(port) as request:
            request.sendall(SENDING.format(HOST, len(body)).encode() + body)
            if not request.recv(100).startswith(b"HTTP/1.1 204"):
                raise BenchError("a batch was refused")

    return send


def _split_events(data: bytes) -> tuple[list[bytes], bytes]:
    *events, rest = data.split(b"\n\n")
    lines = [line for event in events for line in event.split(b"\n")]
    return [b64decode(line[6:]) for line in lines if line.startswith(b"data: ")], rest


SOCKET = Transport(_open_socket, _split_frames)
TRANSPORTS = {OURS: SOCKET, "over event streams": Transport(_open_stream, _split_events)}


def measure(setting: Setting) -> Iterator[Sample]:
    """One member changes the room, each time when it has been sent the last change."""
    with setting.serve(ours()) as (server, port):
        for number in setting.rounds(3):
            for crowd, count in MEMBERS.items():
                setting.say(f"transports, round {number + 1}: {crowd}")
                for subject, transport in TRANSPORTS.items():
                    for metric, value in _run(setting, server, port, transport, count):
                        yield Sample("transports", crowd, metric, subject, number, value)


def _run(
    setting: Setting, server: Child, port: int, transport: Transport, count: int
) -> Iterator[tuple[str, float]]:
    room = f"bench/{os.urandom(6).hex()}"
    changes = (50 if setting.quick else 400) * (4 if count < 100 else 1)  # noqa: PLR2004 - many
    author = Member(port, SOCKET)
    members = [Member(port, transport) for _ in range(count)]
    try:
        for member in (author, *members):
            member.join(room)
        cpu, received = server.cpu(), sum(member.bytes for member in members)
        _change(author, members, room, changes)
        spent = server.cpu() - cpu
        received = sum(member.bytes for member in members) - received
        yield "us CPU per delivered change", spent / (changes * count) * 1e6
        yield "bytes per delivered change", received / (changes * count)
    finally:
        for member in (author, *members):
            member.socket.close()


def _change(author: Member, members: list[Member], room: str, changes: int) -> None:
    """Change the room, and read until all have been sent all of it."""
    with selectors.DefaultSelector() as selector:
        for member in (author, *members):
            selector.register(member.socket, selectors.EVENT_READ, member)
        behind, done = {author, *members}, 0
        deadline = time.monotonic() + PATIENCE
        while behind:
            if author.patches == done < changes:
                done += 1
                author.send([_packed(2, done, room, "add", {})])
            for key, _ in selector.select(1.0):
                key.data.read()
                if key.data.patches >= changes:
                    behind.discard(key.data)
            if time.monotonic() > deadline:
                raise BenchError(f"{len(behind)} members were not sent all changes in time")


def _packed(*message: object) -> bytes:
    return bytes(msgpack.packb(list(message)))
