"""What a message costs the server for each member, by transport."""

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bench import frames
from bench.centrifuge import CENTRIFUGO
from bench.figures import Sample
from bench.members import CENTRIFUGO_SSE, PATIENCE, POLLS, SOCKET, STREAM, Member, Transport
from bench.peers import OURS, SOCKETIO, Fan, Peer, ours
from bench.processes import HOST, BenchError, Child
from bench.setting import Setting

MEMBERS = {"10 members": 10, "200 members": 200}
SIZE = 200  # bytes of a message
TRANSPORTS: dict[str, tuple[Peer, Transport]] = {
    OURS: (ours(), SOCKET),
    "over event streams": (ours(), STREAM),
    "Socket.IO": (SOCKETIO, SOCKET),
    "Socket.IO, polling": (SOCKETIO, POLLS),
    "Centrifugo": (CENTRIFUGO, SOCKET),
    "Centrifugo, event streams": (CENTRIFUGO, CENTRIFUGO_SSE),
}


class Publisher:
    """Sends numbered messages to one room through Redis."""

    def __init__(self, redis: socket.socket, command: bytes) -> None:
        self._redis = redis
        self._command = command
        self.number = 0

    def publish(self) -> None:
        """Send the next."""
        self.number += 1
        made = self._command.replace(frames.SEQUENCE_HEX, b"%016x" % self.number)
        made = made.replace(frames.SEQUENCE, self.number.to_bytes(8))
        self._redis.sendall(made.replace(frames.PREVIOUS, (self.number - 1).to_bytes(8)))
        if (answer := self._redis.recv(100)).startswith(b"-"):
            raise BenchError(f"Redis refused: {answer!r}")


def measure(setting: Setting) -> Iterator[Sample]:
    """Messages come one by one, each when all members have the last one."""
    with ExitStack() as stack:
        running: dict[str, tuple[Child, int]] = {}
        for peer, _ in TRANSPORTS.values():
            if peer.name not in running and setting.has(peer):
                running[peer.name] = stack.enter_context(setting.serve(peer))
        for number in setting.rounds(3):
            for crowd, count in MEMBERS.items():
                for subject, (peer, transport) in TRANSPORTS.items():
                    if peer.name not in running:
                        continue
                    setting.say(f"transports, round {number + 1}: {crowd}, {subject}")
                    (server, port), fan = running[peer.name], peer.fan()
                    with _joined(port, transport, fan, count) as members:
                        found = _run(setting, server, members, fan)
                    for metric, value in found.items():
                        yield Sample("transports", crowd, metric, subject, number, value)


@contextmanager
def _joined(port: int, transport: Transport, fan: Fan, count: int) -> Iterator[list[Member]]:
    with ExitStack() as stack:
        members = []
        for _ in range(count):
            members.append(Member(port, transport, fan.speech))
            stack.enter_context(members[-1].wire.socket)
        yield members


def _run(setting: Setting, server: Child, members: list[Member], fan: Fan) -> dict[str, float]:
    count = len(members)
    messages = (50 if setting.quick else 400) * (4 if count < 100 else 1)  # noqa: PLR2004 - many
    with socket.create_connection((HOST, setting.place.redis)) as redis:
        publisher = Publisher(redis, fan.publish(SIZE))
        _deliver(publisher, members, 1)
        cpu, transferred = server.cpu(), sum(member.bytes for member in members)
        _deliver(publisher, members, messages)
    spent = server.cpu() - cpu
    transferred = sum(member.bytes for member in members) - transferred
    return {
        "us CPU per delivered message": spent / (messages * count) * 1e6,
        "bytes per delivered message": transferred / (messages * count),
    }


def _deliver(publisher: Publisher, members: Sequence[Member], messages: int) -> None:
    """Publish, and read until all members have each message."""
    with selectors.DefaultSelector() as selector:
        for member in members:
            selector.register(member.wire.socket, selectors.EVENT_READ, member)
        for _ in range(messages):
            publisher.publish()
            behind = set(members)
            deadline = time.monotonic() + PATIENCE
            while behind:
                for key, _ in selector.select(1.0):
                    key.data.read()
                    if key.data.last == publisher.number:
                        behind.discard(key.data)
                if time.monotonic() > deadline:
                    raise BenchError(f"{len(behind)} members were not sent a message in time")
